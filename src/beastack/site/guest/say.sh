# Sourced by the guest's scripts.

# Print a text on the serial line and on the screen. A machine may lack
# either, so a terminal that cannot be opened is no error.
print() {
    for terminal in /dev/ttyS0 /dev/tty0; do
        { printf '%s\n' "$1" >"$terminal"; } 2>/dev/null
    done
}

# Print one line that tests can read. Once a shell has printed its prompt, the
# line needs a new line before it.
say() {
    [ -e /run/guest/shell ] && print ""
    print "BEASTACK-GUEST: $*"
}
