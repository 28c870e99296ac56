#!/bin/bash
# Makes a disk of a system's folder: GPT, EFI system partition, root. Nothing is mounted.
#
# usage: disk.sh FOLDER OUT.raw ext4|xfs|btrfs|lvm
#
# Needs e2fsprogs, xfsprogs, btrfs-progs, dosfstools, mtools, gdisk; for lvm also lvm2 and a loop device. The folder's fstab and
# grub.cfg are replaced. The environment variable MKFS has more options for the program that makes the root.
set -euo pipefail
folder=$1 out=$2 kind=$3
here=$(cd "$(dirname "$0")" && pwd)
esp_mib=64 root_first=66 # MiB, behind the ESP
uuid=$(cat /proc/sys/kernel/random/uuid)
work=$(mktemp -d) loop=
trap '[ -z "$loop" ] || losetup -d "$loop"; rm -rf "$work"' EXIT
used=$(du -sm --apparent-size "$folder" | cut -f1)
root_mib=$(((used * 3 / 2 + 300) / 4 * 4)) # a multiple of LVM's extents
kernel=$(cd "$folder/boot" && ls vmlinuz-* | sort -V | tail -1)
version=${kernel#vmlinuz-}
fs=$kind device=UUID=$uuid
[ "$kind" = lvm ] && fs=ext4 device=/dev/mapper/golden-root
module=$fs
[ "$fs" = ext4 ] && module=ext2

printf '%s / %s defaults 0 1\nLABEL=ESP /boot/efi vfat umask=0077,nofail 0 2\n' "$device" "$fs" > "$folder/etc/fstab"
mkdir -p "$folder/boot/grub" "$folder/boot/efi"
cat > "$folder/boot/grub/grub.cfg" <<EOF
set timeout=0
menuentry 'Debian GNU/Linux' {
  insmod part_gpt
  insmod lvm
  insmod $module
  search --no-floppy --fs-uuid --set=root $uuid
  linux /boot/$kernel root=$device ro console=tty0 console=ttyS0,115200
  initrd /boot/initrd.img-$version
}
EOF

truncate -s "${root_mib}M" "$work/root"
case $fs in
  # shellcheck disable=SC2086 # MKFS holds several options
  ext4) mke2fs -q -t ext4 -U "$uuid" -L root ${MKFS:-} -d "$folder" "$work/root" ;;
  xfs)
    python3 "$here/xfs_proto.py" "$folder" > "$work/proto"
    mkfs.xfs -q -m uuid="$uuid" ${MKFS:-} -p "$work/proto" "$work/root"
    ;;
  btrfs)
    # mkfs.btrfs enlarges the file if the folder needs more.
    mkfs.btrfs -q -U "$uuid" ${MKFS:-} --rootdir "$folder" "$work/root" > /dev/null
    root_mib=$((($(stat -c %s "$work/root") + 1048575) / 1048576))
    ;;
  *) echo "unknown: $kind" >&2; exit 1 ;;
esac

partition=$work/root type=8300
if [ "$kind" = lvm ]; then
  # The tools of LVM write the metadata; two segments with a gap make the map longer than one line.
  partition=$work/pv type=8e00
  extents=$((root_mib / 4)) half=$((root_mib / 8))
  truncate -s "$((root_mib + 12))M" "$partition"
  loop=$(losetup -f --show "$partition")
  config="devices{use_devicesfile=0 filter=[\"a|$loop|\",\"r|.*|\"]} activation{udev_sync=0 udev_rules=0}"
  export LVM_SUPPRESS_FD_WARNINGS=1
  {
    pvcreate --config "$config" "$loop"
    vgcreate --config "$config" -An golden "$loop"
    vgcfgbackup --config "$config" -f "$work/text" golden
    python3 "$here/lvm_text.py" "$work/text" "$extents" "$half"
    vgcfgrestore --config "$config" -f "$work/text" golden
  } > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  losetup -d "$loop"
  loop=
  dd if="$work/root" of="$partition" bs=4M count="$half" seek=1M oflag=seek_bytes conv=notrunc,sparse status=none
  dd if="$work/root" of="$partition" bs=4M skip="$half" seek="$((1048576 + (half + 1) * 4194304))" oflag=seek_bytes \
    conv=notrunc,sparse status=none
  root_mib=$((root_mib + 12))
fi

truncate -s "${esp_mib}M" "$work/esp"
mkfs.vfat -F 32 -n ESP "$work/esp" > /dev/null
mmd -i "$work/esp" ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i "$work/esp" "$folder/usr/lib/shim/shimx64.efi.signed" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$work/esp" "$folder/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" ::/EFI/BOOT/grubx64.efi
printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' "$uuid" > "$work/grub.cfg"
mcopy -i "$work/esp" "$work/grub.cfg" ::/EFI/debian/grub.cfg

rm -f "$out"
truncate -s "$((root_first + root_mib + 1))M" "$out"
sgdisk -n "15:1M:+${esp_mib}M" -t 15:ef00 -n "1:${root_first}M:+${root_mib}M" -t "1:$type" "$out" > /dev/null
dd if="$work/esp" of="$out" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$partition" of="$out" bs=1M seek="$root_first" conv=notrunc,sparse status=none
