#!/bin/sh
# Two vnet jails on a bridge of the host, as in many a howto: each has one half
# of an epair, the other half is a member. Needs nothing but the base system.
set -eu

bridge=$(ifconfig bridge create)
ifconfig "$bridge" inet 10.77.0.1/24 up
for n in 1 2; do
    a=$(ifconfig epair create)
    b=${a%a}b
    jail -c name=web$n path=/ vnet persist host.hostname=web$n allow.raw_sockets
    ifconfig "$a" -txcsum -txcsum6 description "web$n" up
    ifconfig "$bridge" addm "$a"
    ifconfig "$b" vnet web$n
    jexec web$n ifconfig lo0 inet 127.0.0.1/8 up
    jexec web$n ifconfig "$b" inet 10.77.0.1$n/24 up
    jexec web$n route -n add default 10.77.0.1
done

jexec web1 ping -q -c 3 -t 10 10.77.0.12
jexec web2 ping -q -c 3 -t 10 10.77.0.1
ping -q -c 3 -t 10 10.77.0.11
[ "$(jexec web1 hostname)" = web1 ]
[ "$(jls -N | grep -c '^ web')" = 2 ]

for n in 1 2; do
    jail -r web$n
done
for a in $(ifconfig -l -g epair); do
    case $a in epair*a) ifconfig "$a" destroy ;; esac
done
ifconfig "$bridge" destroy
[ "$(ifconfig -l)" = lo0 ]
[ -z "$(jls jid)" ]
echo clean
