#!/bin/bash
# Measures inspections of real Debian disks in all formats, and fails above the targets: 1 s and 64 MiB for a disk, 3 s for a kernel whose
# initramfs is compressed by xz. The time is that of the processor: the files are in the page cache, and an inspection has one thread, so
# that on an idle machine it takes as long. The elapsed time is printed too; it depends on what else the machine does.
#
# usage: tests/inside_measure.sh [RUNS]      the best of so many runs (5)
#
# Runs as root. Needs the packages of tests/boot.sh, qemu-utils and xz-utils. The systems are kept in target/inside.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=shared/inside/tests/disks
cache=${INSIDE_CACHE:-target/inside}
mkdir -p "$cache"
cargo build --quiet --release -p goldfleet-inside --example inspect
failed=0
runs=${1:-5}
# NAME:FORMAT OF qemu-img:ITS OPTIONS
formats='VHDX:vhdx:
fixed VHD:vpc:-o subformat=fixed,force_size=on
dynamic VHD:vpc:-o force_size=on
qcow2:qcow2:
qcow2, compressed:qcow2:-c -o compression_type=zstd
VMDK:vmdk:
VMDK, compressed:vmdk:-o subformat=streamOptimized'
measure() { # measure NAME DISK MILLISECONDS
  local best=
  # The first run reads the file into the page cache, and others may share the machine.
  for ((run = 0; run < runs; run++)); do
    line=$(target/release/examples/inspect "$2" | tail -1 || true)
    read -r ms _ cpu _ _ _ _ read _ _ _ _ _ memory _ <<< "$line"
    if [ -z "$best" ] || [ "$cpu" -lt "${best%% *}" ]; then best="$cpu $ms $read $memory"; fi
  done
  read -r cpu ms read memory <<< "$best"
  verdict=ok
  if [ "$cpu" -gt "$3" ] || [ "$memory" -gt 64 ]; then verdict="above the target" failed=1; fi
  printf '%-28s %5d ms of processor time  %5d ms  %4d MiB read  %3d MiB of memory  %s\n' "$1" "$cpu" "$ms" "$read" "$memory" \
    "$verdict"
}
for builder in initramfs-tools:debian12 dracut:debian13; do
  system=$cache/${builder#*:}
  [ -e "$system/etc/os-release" ] || "$tools/root.sh" "${builder%:*}" "$system"
done
for disk in debian12-ext4 debian12-xfs debian12-btrfs debian12-lvm debian13-ext4; do
  made=$cache/$disk.raw
  [ -e "$made" ] || "$tools/disk.sh" "$cache/${disk%-*}" "$made" "${disk#*-}"
  measure "$disk" "$made" 1000
done

work=$(mktemp -d "$cache/measure.XXXXXX")
trap 'rm -rf "$work"' EXIT
for kind in ext4 btrfs; do
  while IFS=: read -r name format options; do
    # shellcheck disable=SC2086 # several options
    qemu-img convert -f raw -O "$format" $options "$cache/debian12-$kind.raw" "$work/disk"
    measure "debian12-$kind, $name" "$work/disk" 1000
  done <<< "$formats"
done
rm "$work/disk"

cp --sparse=always "$cache/debian13-ext4.raw" "$work/disk.raw"
root="$work/disk.raw?offset=$((66 * 1048576))"
name=/boot/$(cd "$cache/debian13/boot" && printf '%s\n' initrd.img-* | sort -V | tail -1)
debugfs -R "dump $name $work/initrd" "$root" 2> /dev/null
# The archive behind the microcode, compressed again.
python3 - "$work/initrd" "$work/main" <<'P'
import sys

data = open(sys.argv[1], "rb").read()
magic = b"\x28\xb5\x2f\xfd"
open(sys.argv[2], "wb").write(data[data.index(magic):])
P
zstd -dqc "$work/main" | xz --check=crc32 -T0 > "$work/xz"
printf '%s\n' "rm $name" "write $work/xz $name" | debugfs -w -f - "$root" > /dev/null 2>&1
echo "xz initramfs: $(($(stat -c %s "$work/xz") >> 20)) MiB"
measure "debian13-ext4, xz initramfs" "$work/disk.raw" 3000
exit "$failed"
