#!/usr/bin/env bash
# The udev rules, run by udev itself on a terminal of this machine that we say is plugged in at the port of the
# shipped example. In a mount namespace of its own, because udevadm test makes links and changes owners.
# shellcheck source=tests/host/host.sh
. "$(dirname "$(readlink -f "$0")")/host.sh"

rules=$dir/usr/lib/udev/rules.d
cp "$dir"/usr/share/doc/keyline/89-keyline-slots.rules.example "$rules/89-keyline-slots.rules"

if udevadm verify --help >/dev/null 2>&1; then
    expect "udevadm verify" udevadm verify --resolve-names=never "$rules"/*.rules
else
    echo "udevadm verify: skipped, this udev ($(udevadm --version)) has it not"
fi

namespace=(unshare --mount)
[ "$(id -u)" -eq 0 ] || namespace=(unshare --user --map-root-user --mount)
if ! "${namespace[@]}" true 2>/dev/null || [ ! -e /sys/class/tty/tty1 ] || [ ! -e /sys/class/tty/tty2 ]; then
    echo "rules at work: skipped, no mount namespace or no terminals here"
    [ "$failed" -eq 0 ] && exit 77
    exit 1
fi

# What udev would know of a USB port: tty1 is plugged in at slot 01 of the example, tty2 somewhere else.
cat >"$rules/88-test.rules" <<'END'
KERNEL=="tty1", ENV{ID_PATH}="pci-0000:00:14.0-usb-0:3.1:1.0"
KERNEL=="tty2", ENV{ID_PATH}="pci-0000:00:14.0-usb-0:3.1.1:1.0"
END
cat /etc/group "$dir/etc/group" >"$dir/group"
plug() { # plug TTY: what udev makes of it, in $dir/TTY, and its links in $dir/TTY.links
    # shellcheck disable=SC2016 # the inner shell's variables
    "${namespace[@]}" sh -euc '
        mount --bind "$1/group" /etc/group
        mount --bind "$1/usr/lib/udev/rules.d" /usr/lib/udev/rules.d
        [ ! -d /etc/udev/rules.d ] || mount -t tmpfs none /etc/udev/rules.d
        mount -t tmpfs none /run
        mount -t tmpfs none /dev
        udevadm test --action=add "/sys/class/tty/$2" >"$1/$2" 2>&1
        find /dev -type l -printf "%P %l\n" >"$1/$2.links"' sh "$dir" "$1" ||
        { cat "$dir/$1" >&2; miss "udevadm test $1"; }
}
plug tty1
plug tty2

for line in KEYLINE_SLOT=01 ID_MM_DEVICE_IGNORE=1 ID_MM_PORT_IGNORE=1 SYSTEMD_WANTS=keyline-slot@01.service TAGS=:systemd:; do
    expect "slot 01: $line" grep -qx "$line" "$dir/tty1"
done
slot_gid=$(sed -n 's/^keyline-slot:[^:]*:\([0-9]*\):.*/\1/p' "$dir/etc/group")
expect "slot 01: the group is keyline-slot" grep -q "90-keyline.rules:[0-9]* GROUP $slot_gid\$" "$dir/tty1"
expect "slot 01: the mode is 0660" grep -q '90-keyline.rules:[0-9]* MODE 0660$' "$dir/tty1"
expect "slot 01: /dev/keyline/01 leads to the port" grep -qx 'keyline/01 ../tty1' "$dir/tty1.links"
expect "tty2 was not looked at" grep -qx 'DEVNAME=/dev/tty2' "$dir/tty2"
lacks() { ! grep -Eiq "$1" "$2"; }
expect "a port that is no slot is left alone" lacks 'KEYLINE_SLOT|keyline-slot@|ID_MM_|GROUP' "$dir/tty2"
expect "a port that is no slot gets no link" lacks keyline "$dir/tty2.links"
expect "udev complains about the rules" lacks 'keyline.*(invalid|unknown|unexpected|ignor)' "$dir/tty1"
finish
