#!/bin/sh
# A jail that routes between two others, IPv4 and IPv6, and what happens when
# it stops: forwarding is a setting of each vnet.
set -eu
trap 'for j in left router right; do jail -R $j 2>/dev/null || true; done' EXIT

for j in left router right; do
    jail -c name=$j vnet persist
    ifconfig -j $j lo0 inet 127.0.0.1/8 up
done
join() { # JAIL ADDRESS ADDRESS6 -- ROUTER'S ADDRESS ADDRESS6
    a=$(ifconfig epair create)
    b=${a%a}b
    ifconfig "$a" vnet "$1"
    ifconfig "$b" vnet router
    ifconfig -j "$1" "$a" inet "$2/24" up
    ifconfig -j "$1" "$a" inet6 "$3/64" no_dad
    ifconfig -j router "$b" inet "$4/24" up
    ifconfig -j router "$b" inet6 "$5/64" no_dad
    route -j "$1" -qn add default "$4"
    route -j "$1" -qn6 add default "$5"
}
join left 10.1.0.2 fd01::2 10.1.0.1 fd01::1
join right 10.2.0.2 fd02::2 10.2.0.1 fd02::1

! jexec left ping -q -c 1 -t 2 10.2.0.2
sysctl -qj router net.inet.ip.forwarding=1 net.inet6.ip6.forwarding=1
jexec left ping -q -c 2 -t 10 10.2.0.2
jexec left ping -6 -q -c 2 -t 10 fd02::2
[ "$(sysctl -n net.inet.ip.forwarding)" = 0 ]
sysctl -qj router net.inet.ip.forwarding=0
! jexec left ping -q -c 1 -t 2 10.2.0.2
route -j left -n get 10.2.0.2 | grep -q 'gateway: 10.1.0.1'
netstat -j left -rn4 | grep -q '^default *10.1.0.1'
arp_seen=$(jexec left arp -an | grep -c '10.1.0.1) at')
[ "$arp_seen" = 1 ]

for j in left router right; do jail -R $j; done
for a in $(ifconfig -g epair); do
    case $a in epair*a) ifconfig "$a" destroy ;; esac
done
[ "$(ifconfig -l)" = lo0 ]
echo clean
