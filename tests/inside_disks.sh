#!/bin/bash
# Compares trees of real file systems, as the inspection reads them, with what the kernel shows: every file's length and content, at
# least 14,000 files.
#
# usage: tests/inside_disks.sh [PART...]      all parts
#
# plain               a Debian system on ext4, XFS and btrfs, against the folder that the file systems were made from
# ext4, xfs, btrfs    the root of a Debian system that wrote files when QEMU was killed, against the kernel's tree after it replayed
#                     the log
# ntfs                an NTFS volume that Debian's kernel (driver ntfs3) wrote to when QEMU was killed, against ntfs-3g's tree; that
#                     driver writes no log, so a file that it wrote last may be unreadable, and such files are counted
#
# The inspection does not read the tree log of btrfs. Its tree is compared with that of a mount that does not replay the log either,
# and the number of files that the log changes is printed.
#
# Runs as root. Needs the packages of tests/boot.sh and ntfs-3g, loop devices, FUSE, and a kernel that mounts these file systems. The
# systems are kept in target/inside.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/shared/inside/tests/disks
cache=$(realpath -m "${INSIDE_CACHE:-target/inside}")
mkdir -p "$cache"
seconds=${BOOT_SECONDS:-300}
PATH=$(tests/qemu.sh):$PATH
work=$(mktemp -d "$cache/trees.XXXXXX")
trap 'umount "$work"/*/root "$work/after" 2> /dev/null || true; rm -rf "$work"' EXIT

compare() { # compare FOLDER: its subfolder root with the volumes beside it
  GOLDFLEET_DISKS=$1 cargo test --quiet -p goldfleet-inside --test linux -- --ignored --nocapture --exact \
    trees_of_real_systems_are_equal | sed -n '/files are equal/p; /the driver cannot read/p'
}

system() { # system debian12|debian13: a folder with the system, which may be changed
  local builder=initramfs-tools
  [ "$1" = debian12 ] || builder=dracut
  [ -e "$cache/$1/etc/os-release" ] || "$tools/root.sh" $builder "$cache/$1"
  rm -rf "$work/system"
  cp -a "$cache/$1" "$work/system"
}

add_writer() { # a service in $work/system that changes files until the machine is killed
  mkdir -p "$work/system/etc/systemd/system/multi-user.target.wants"
  cat > "$work/system/usr/sbin/write-files" <<'EOF'
#!/bin/sh
folder=/srv/written
if [ -b /dev/vdb ]; then
    mount -t ntfs3 /dev/vdb /mnt || exit 1
    folder=/mnt/written
fi
mkdir -p $folder
cd $folder || exit 1
number=0
while :; do
    number=$((number + 1))
    head -c $((number * 7919 % 60000)) /dev/urandom > new
    [ $((number % 3)) != 0 ] || sync new
    mv new $number
    [ $((number % 5)) != 0 ] || rm $((number - 3))
    [ $((number % 7)) != 0 ] || printf more >> $((number / 7))
    [ $((number % 10)) != 0 ] || echo "wrote $number files" > /dev/ttyS0
done
EOF
  chmod +x "$work/system/usr/sbin/write-files"
  printf '[Service]\nExecStart=/usr/sbin/write-files\n' > "$work/system/etc/systemd/system/write-files.service"
  ln -s ../write-files.service "$work/system/etc/systemd/system/multi-user.target.wants/write-files.service"
}

boot() { # boot OPTION...: boots $work/disk.raw, and kills QEMU while the service writes
  SERIAL_LOG=$work/serial "$tools/boot.py" "$work/disk.raw" "$seconds" --write --run 60 "$@" > "$work/outcome" ||
    { cat "$work/outcome" >&2; exit 1; }
  grep -aq 'wrote [0-9]* files' "$work/serial" ||
    { tail -30 "$work/serial" >&2; echo "the machine wrote nothing before it was killed" >&2; exit 1; }
}

plain() {
  system debian12
  mkdir "$work/plain"
  mv "$work/system" "$work/plain/root"
  truncate -s 2G "$work/plain/ext4" "$work/plain/xfs" "$work/plain/btrfs"
  mke2fs -q -F -t ext4 -d "$work/plain/root" "$work/plain/ext4"
  python3 "$tools/xfs_proto.py" "$work/plain/root" > "$work/proto"
  mkfs.xfs -q -p "$work/proto" "$work/plain/xfs"
  mkfs.btrfs -q --rootdir "$work/plain/root" "$work/plain/btrfs" > /dev/null
  compare "$work/plain"
  rm -rf "$work/plain"
}

killed() { # killed ext4|xfs|btrfs
  local kind=$1 sectors volume=$work/killed/$1
  system debian12
  add_writer
  "$tools/disk.sh" "$work/system" "$work/disk.raw" "$kind"
  boot
  mkdir -p "$work/killed/root" "$work/after"
  sectors=$(sgdisk -i 1 "$work/disk.raw" | sed -n 's/^First sector: \([0-9]*\).*/\1/p')
  dd if="$work/disk.raw" of="$volume" bs=512 skip="$sectors" conv=sparse status=none
  cp --sparse=always "$volume" "$work/replayed"
  if [ "$kind" = btrfs ]; then
    mount -o loop,ro,rescue=nologreplay "$volume" "$work/killed/root"
    mount -o loop "$work/replayed" "$work/after"
    changed=$(diff -rq --no-dereference "$work/killed/root" "$work/after" | wc -l || true)
    umount "$work/after"
    echo "btrfs: the tree log changes $changed files"
  else
    # The kernel replays the log of the copy.
    mount -o loop "$work/replayed" "$work/killed/root"
  fi
  compare "$work/killed" | tee "$work/result"
  # A clean log would mean that nothing was tested.
  [ "$kind" = btrfs ] || ! grep -q '(clean)' "$work/result" || { echo "the log is clean" >&2; exit 1; }
  umount "$work/killed/root"
  rm -rf "$work/killed" "$work/replayed" "$work/disk.raw"
}

ntfs() {
  system debian13
  mkdir -p "$work/killed/root"
  truncate -s 2G "$work/killed/ntfs"
  mkntfs --fast --force --quiet "$work/killed/ntfs" 2> /dev/null
  ntfs-3g "$work/killed/ntfs" "$work/killed/root"
  cp -r "$work/system" "$work/killed/root/system"
  umount "$work/killed/root"
  add_writer
  "$tools/disk.sh" "$work/system" "$work/disk.raw" ext4
  boot --second "$work/killed/ntfs"
  cp --sparse=always "$work/killed/ntfs" "$work/replayed"
  # ntfs-3g mounts no volume whose log was left open. ntfsfix resets the log and the dirty flag of the copy, and changes no file.
  ntfsfix "$work/replayed" > "$work/fixed" || { cat "$work/fixed" >&2; exit 1; }
  ntfs-3g -o recover "$work/replayed" "$work/killed/root"
  compare "$work/killed"
  umount "$work/killed/root"
  rm -rf "$work/killed" "$work/replayed" "$work/disk.raw"
}

[ $# -gt 0 ] || set -- plain ext4 xfs btrfs ntfs
for part in "$@"; do
  case $part in
    plain | ntfs) $part ;;
    ext4 | xfs | btrfs) killed "$part" ;;
    *) echo "unknown part: $part" >&2; exit 1 ;;
  esac
done
echo "all trees are equal"
