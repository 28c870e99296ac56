#!/bin/bash
# Compares the trees of a real Debian system on ext4, XFS and btrfs, as the inspection reads them, with their source: every file's
# length and content, at least 14,000 files. Then the same for an ext4 root that QEMU was killed on while it ran, against what
# the kernel shows after it replayed the journal.
#
# usage: tests/inside_disks.sh
#
# Runs as root. Needs the packages of tests/boot.sh and loop devices. The system is kept in target/inside.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/shared/inside/tests/disks
cache=$PWD/${INSIDE_CACHE:-target/inside}
system=$cache/debian12
[ -e "$system/etc/os-release" ] || "$tools/root.sh" initramfs-tools "$system"
work=$(mktemp -d "$cache/trees.XXXXXX")
trap 'umount "$work/killed/root" 2> /dev/null || true; rm -rf "$work"' EXIT
compare() { # compare FOLDER: its subfolder root with the volumes beside it
  GOLDFLEET_DISKS=$1 cargo test --quiet -p goldfleet-inside --test linux -- --ignored --exact trees_of_real_systems_are_equal
}

mkdir "$work/plain" "$work/killed"
ln -s "$system" "$work/plain/root"
truncate -s 2G "$work/plain/ext4" "$work/plain/xfs" "$work/plain/btrfs"
mke2fs -q -F -t ext4 -d "$system" "$work/plain/ext4"
python3 "$tools/xfs_proto.py" "$system" > "$work/proto"
mkfs.xfs -q -p "$work/proto" "$work/plain/xfs"
mkfs.btrfs -q --rootdir "$system" "$work/plain/btrfs" > /dev/null
compare "$work/plain"

made=$cache/debian12-ext4.raw
[ -e "$made" ] || "$tools/disk.sh" "$system" "$made" ext4
cp --sparse=always "$made" "$work/disk.raw"
# The boot writes logs and keys; QEMU is killed as soon as the login prompt appears.
"$tools/boot.py" "$work/disk.raw" "${BOOT_SECONDS:-300}" --write
sectors=$(sgdisk -i 1 "$work/disk.raw" | sed -n 's/^First sector: \([0-9]*\).*/\1/p')
dd if="$work/disk.raw" of="$work/killed/ext4" bs=512 skip="$sectors" conv=sparse status=none
dumpe2fs -h "$work/killed/ext4" 2> /dev/null | grep -q needs_recovery || { echo "the journal is clean" >&2; exit 1; }
cp --sparse=always "$work/killed/ext4" "$work/mounted"
mkdir "$work/killed/root"
mount -o loop "$work/mounted" "$work/killed/root"
compare "$work/killed"
echo "all trees are equal"
