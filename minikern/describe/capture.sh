#!/bin/sh
# Gathers what a boot of this machine needs into one archive, minikern-capture.tar (.xz where xz is there).
#
#   sh capture.sh [--full] [FILE]      as root; an ordinary user gets less, and is told what could not be read
#
# It only reads: nothing is installed, loaded or changed. Left out or zeroed are serial numbers, UUIDs, MAC addresses,
# host and user names, product keys; --full keeps them. Needed are a POSIX shell and what busybox has.

umask 077
LC_ALL=C; export LC_ALL
full=no
out=
for word; do
    case $word in
    --full) full=yes ;;
    -*) echo "capture.sh: unknown option $word: expected --full and the name of the archive" >&2; exit 2 ;;
    *) out=$word ;;
    esac
done
out=${out:-minikern-capture.tar}
out=${out%.xz}
case $out in /*) ;; *) out=$PWD/$out ;; esac
root=${MINIKERN_ROOT:-}
work=$(mktemp -d "${TMPDIR:-/tmp}/minikern.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/c/acpi" "$work/c/pci/config" "$work/c/cpu" "$work/c/numa"
cd "$work/c" || exit 1
missing() { echo "$*" >>missing.txt; echo "capture.sh: not read: $*" >&2; }

host=$( (cat "$root/proc/sys/kernel/hostname" || uname -n) 2>/dev/null | head -n 1)
hosts=$(printf '%s\n' "$host" | sed 's/[^A-Za-z0-9_-]/\\&/g')
short=${hosts%%\\.*}

# Text without what names a machine or its people.
clean() {
    if [ $full = yes ]; then cat; return; fi
    sed -E \
        -e 's/[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}/00000000-0000-0000-0000-000000000000/g' \
        -e 's/([0-9A-Fa-f]{2}[:-]){5,}[0-9A-Fa-f]{2}/00:00:00:00:00:00/g' \
        -e 's/([Ss]erial ?([Nn]umber|[Nn]o|#)?\.? ?[:=] ?)[^ ,;]+/\1-/g' \
        -e 's/([Ss]\/[Nn]|[Aa]sset ?[Tt]ag|[Uu][Uu][Ii][Dd]|WWN|wwn|WWID|wwid) ?[:=] ?[^ ,;]+/\1=-/g' \
        -e 's/(eui\.|naa\.|0x5)[0-9A-Fa-f]{15,}/\1-/g' \
        -e 's/(by-id|by-label|by-uuid|by-partuuid)\/[^ ,]+/\1\/-/g' \
        -e 's/(LABEL|PARTLABEL)=[^ ,]+/\1=-/g' \
        -e 's/\([^ ()@]+@[^ ()]+\)/(user@host)/g' \
        -e 's/[A-Za-z0-9._-]+@[A-Za-z0-9._-]+/user@host/g' \
        -e 's/(^|[^0-9.])([0-9]{1,3}\.){3}[0-9]{1,3}([^0-9.]|$)/\10.0.0.0\3/g' \
        -e "s/(^|[^A-Za-z0-9_-])${hosts:-@@}([^A-Za-z0-9_-]|\$)/\\1host\\2/g" \
        -e "s/(^|[^A-Za-z0-9_-])${short:-@@}([^A-Za-z0-9_-]|\$)/\\1host\\2/g"
}

# keep_text FROM TO: a text file, cleaned; keep FROM TO: bytes as they are.
keep_text() {
    if [ -r "$root$1" ] && cat "$root$1" 2>/dev/null >"$work/text" && [ -s "$work/text" ]; then
        clean <"$work/text" >"$2"
    else
        missing "$1"
    fi
}
keep() { { [ -r "$root$1" ] && cat "$root$1" 2>/dev/null >"$2" && [ -s "$2" ]; } || { rm -f "$2"; missing "$1"; }; }

# zero FILE OFFSET COUNT: bytes made zero in place.
zero() { dd if=/dev/zero of="$1" bs=1 seek="$2" count="$3" conv=notrunc 2>/dev/null; }

# The kernel and what it was started with.
keep_text /proc/version version.txt
keep_text /proc/cmdline kernel-cmdline.txt
release=$(sed -E 's/^Linux version ([^ ]+) .*/\1/;q' "$root/proc/version" 2>/dev/null)
if [ -r "$root/proc/config.gz" ]; then
    gunzip -c "$root/proc/config.gz" 2>/dev/null | grep '^CONFIG_\|^# CONFIG_' | clean >config-fragment.txt
elif [ -r "$root/boot/config-$release" ]; then
    grep '^CONFIG_\|^# CONFIG_' "$root/boot/config-$release" | clean >config-fragment.txt
else
    missing "/proc/config.gz, /boot/config-$release"
fi
for name in vmlinuz initrd.img initramfs; do
    for file in "$root/boot/$name-$release"*; do
        [ -f "$file" ] && echo "$name $(wc -c <"$file" | tr -d ' ')" >>sizes.txt
    done
done

# The zero page: memory map, initial RAM disk, video. Signatures of disks and the monitor's name are taken out.
keep /sys/kernel/boot_params/data boot_params.bin
if [ -f boot_params.bin ] && [ $full = no ]; then
    zero boot_params.bin 320 128   # edid_info
    zero boot_params.bin 656 64    # edd_mbr_sig_buffer
    zero boot_params.bin 3328 492  # eddbuf
fi
for dir in "$root"/sys/firmware/memmap/*; do
    [ -r "$dir/start" ] && echo "${dir##*/} $(cat "$dir/start") $(cat "$dir/end") $(cat "$dir/type")"
done | sort -n >memmap.txt

# ACPI tables. Product keys and addresses of network cards and memory modules stand in some of them.
for file in "$root"/sys/firmware/acpi/tables/*; do
    [ -f "$file" ] || continue
    name=${file##*/}
    if ! cat "$file" >"acpi/$name.dat" 2>/dev/null; then rm -f "acpi/$name.dat"; missing "/sys/firmware/acpi/tables/$name"; continue; fi
    case $name in
    MSDM*|SLIC*|IBFT*|iBFT*|NFIT*|WPBT*|UEFI*|PHAT*)
        size=$(wc -c <"acpi/$name.dat")
        [ $full = no ] && [ "$size" -gt 36 ] && zero "acpi/$name.dat" 36 $((size - 36)) ;;
    esac
done
[ "$(ls acpi)" ] || missing "/sys/firmware/acpi/tables"

# Configuration space as sysfs shows it. A device's serial number (an extended capability) is mostly its MAC address.
serial_at() {
    od -An -v -tx1 "$1" | awk '
        function hex(text,  i, n) { n = 0
            for (i = 1; i <= length(text); i++) n = n * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
            return n }
        { for (i = 1; i <= NF; i++) byte[total++] = hex($i) }
        END { at = 256; turns = 0
            while (at >= 256 && at + 12 <= total && turns++ < 96) {
                id = byte[at] + 256 * byte[at + 1]
                if (id == 3) print at + 4
                at = int(byte[at + 2] / 16) + 16 * byte[at + 3] } }'
}
for dir in "$root"/sys/bus/pci/devices/*; do
    [ -r "$dir/config" ] || continue
    name=${dir##*/}
    cat "$dir/config" >"pci/config/$name.bin" 2>/dev/null
    size=$(wc -c <"pci/config/$name.bin")
    [ "$size" -le 64 ] && short_config=yes
    if [ $full = no ] && [ "$size" -gt 256 ]; then
        for at in $(serial_at "pci/config/$name.bin"); do zero "pci/config/$name.bin" "$at" 8; done
    fi
    [ -r "$dir/resource" ] && { echo "== $name"; cat "$dir/resource"; } >>pci/resources.txt
    group=$(ls -l "$dir/iommu_group" 2>/dev/null | sed -n 's/.*iommu_groups\/\([0-9]*\)$/\1/p')
    [ "$group" ] && echo "$group $name" >>iommu-groups.txt
done
[ "${short_config:-no}" = yes ] && missing "configuration space beyond 64 bytes (needs root)"

# Processors. Each read of 16 bytes from the cpuid device is a leaf; subleaves stand 4 GiB apart.
keep_text /proc/cpuinfo cpuinfo.txt
leaves() { dd if="$1" bs=16 skip="$2" count="$3" 2>/dev/null; }
for dev in "$root"/dev/cpu/[0-9]*/cpuid; do
    number=${dev%/cpuid}
    number=${number##*/}
    leaves "$dev" 0 1 >"$work/text"
    [ -s "$work/text" ] || continue
    for sub in 0 1 2 3 4 5 6 7; do leaves "$dev" $((sub * 268435456)) 64 >"cpu/$number.0.$sub"; done
    leaves "$dev" 67108864 2 >"cpu/$number.40000000.0"
    leaves "$dev" 134217728 48 >"cpu/$number.80000000.0"
done
ls cpu | grep . >/dev/null || missing "/dev/cpu/*/cpuid (modprobe cpuid): /proc/cpuinfo has to do"
read_msr() { { dd bs=1 skip="$2" count=0; dd bs=8 count=1; } <"$1" 2>/dev/null; }
for dev in "$root"/dev/cpu/[0-9]*/msr; do
    [ -r "$dev" ] || continue
    number=${dev%/msr}
    number=${number##*/}
    # APIC base, feature control, microcode, MTRRs, PAT, TSC_ADJUST
    for msr in 27 58 59 139 254 512 513 514 515 516 517 518 519 520 521 522 523 524 525 526 527 528 529 530 531 592 600 601 \
        616 617 618 619 620 621 622 623 631 767; do
        read_msr "$dev" $msr >"$work/text"
        [ -s "$work/text" ] || continue
        [ -f "cpu/$number.msr" ] || : >"cpu/$number.msr"
        echo "$msr $(od -An -v -tx1 "$work/text" | tr -d ' \n')" >>"cpu/$number.msr"
    done
done
ls cpu | grep msr >/dev/null || missing "/dev/cpu/*/msr (modprobe msr)"

# What the running kernel says.
for name in iomem ioports mtrr meminfo zoneinfo buddyinfo pagetypeinfo; do keep_text /proc/$name $name.txt; done
for dir in "$root"/sys/devices/system/node/node[0-9]*; do
    [ -r "$dir/distance" ] && echo "${dir##*/} $(cat "$dir/cpulist") : $(cat "$dir/distance")"
done >numa/nodes.txt

# The log, to the first program: what comes later is no business of a boot.
: >"$work/log"
if [ -z "$root" ]; then
    dmesg 2>/dev/null >"$work/log"
    grep 'Linux version ' "$work/log" >/dev/null ||
        journalctl -k -b -o short-monotonic --no-hostname 2>/dev/null >"$work/log"
fi
grep 'Linux version ' "$work/log" >/dev/null || cat "$root/var/log/dmesg" 2>/dev/null >"$work/log"
if [ -s "$work/log" ]; then
    awk '{ print } /Run \/[^ ]* as init process/ { exit }' "$work/log" | clean >dmesg.txt
else
    missing "the kernel log (dmesg, journal, /var/log/dmesg)"
fi
[ $full = yes ] && echo "full capture" >NOTE.txt || echo "anonymised capture" >NOTE.txt

cd "$work/c" || exit 1
tar cf "$work/capture.tar" * || exit 1
if command -v xz >/dev/null 2>&1 && xz -T0 "$work/capture.tar" 2>/dev/null; then
    mv "$work/capture.tar.xz" "$out.xz" && echo "$out.xz"
else
    mv "$work/capture.tar" "$out" && echo "$out"
fi
