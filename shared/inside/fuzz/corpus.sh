#!/bin/bash
# Writes seeds for the fuzz targets into corpus/.
#
# Needs the packages e2fsprogs, xfsprogs, btrfs-progs, dosfstools, mtools, ntfs-3g, gdisk, cpio, zstd, xz-utils, lz4, libwin-hivex-perl,
# libhivex-bin and systemd-boot-efi. LVM seeds need root, for a loop device.
set -euo pipefail
cd "$(dirname "$0")"
tools=../tests/disks
work=$(mktemp -d) loop=
trap '[ -z "$loop" ] || losetup -d "$loop"; rm -rf "$work"' EXIT
for target in fat ntfs ext xfs btrfs hive pe initramfs inspect; do mkdir -p "corpus/$target"; done
stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub
uuid=11111111-2222-3333-4444-555555555555
kernel=6.1.0-13-amd64

# A small Linux system: enough that every check reads something.
root=$work/root
mkdir -p "$root"/{boot/grub,etc/{cloud/cloud.cfg.d,default,modprobe.d,netplan,ssh,systemd/system/multi-user.target.wants}}
mkdir -p "$root"/{home/user/.ssh,root,usr/{bin,sbin},usr/lib/{systemd,modules/$kernel},var/lib/cloud,deep/1/2/3}
printf 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n' > "$root/etc/os-release"
printf 'root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\n' > "$root/etc/passwd"
printf 'root:*:19000::::::\nuser:%s6%sa%sb:19000::::::\n' $ $ $ > "$root/etc/shadow"
printf 'UUID=%s / ext4 defaults 0 1\n/dev/sdb1 /data ext4 nofail 0 2\n' $uuid > "$root/etc/fstab"
printf 'datasource_list: [ Azure, None ]\n' > "$root/etc/cloud/cloud.cfg"
printf 'blacklist floppy\ninstall udf /bin/true\n' > "$root/etc/modprobe.d/x.conf"
printf 'network:\n  ethernets:\n    eth0:\n      addresses: [10.0.0.4/24]\n' > "$root/etc/netplan/01.yaml"
printf 'data UUID=%s none luks\n' $uuid > "$root/etc/crypttab"
printf 'ssh-ed25519 AAAA x\n' > "$root/home/user/.ssh/authorized_keys"
for program in bin/cloud-init sbin/waagent sbin/sshd sbin/update-initramfs lib/systemd/systemd; do : > "$root/usr/$program"; done
ln -s /usr/lib/systemd/system/ssh.service "$root/etc/systemd/system/multi-user.target.wants/ssh.service"
ln -s usr/lib "$root/lib"
printf 'kernel/fs/ext4.ko:\nkernel/drivers/hv/hv_vmbus.ko:\n' > "$root/usr/lib/modules/$kernel/modules.dep"
printf 'kernel/fs/vfat.ko\n' > "$root/usr/lib/modules/$kernel/modules.builtin"
cat > "$root/boot/grub/grub.cfg" <<EOF
set default="0"
search --no-floppy --fs-uuid --set=root $uuid
menuentry 'Debian' {
  linux /boot/vmlinuz-$kernel root=UUID=$uuid ro console=ttyS0,115200
  initrd /boot/initrd.img-$kernel
}
EOF
head -c 66000 "$stub" > "$root/boot/vmlinuz-$kernel"
for number in $(seq 40); do head -c $((number * 37)) /dev/urandom > "$root/deep/1/2/file-with-a-longer-name-$number"; done
truncate -s 300000 "$root/deep/sparse"
printf end >> "$root/deep/sparse"

initramfs=$work/initramfs
mkdir -p "$initramfs/usr/lib/modules/$kernel/kernel/drivers" "$initramfs/etc/modprobe.d" "$initramfs/etc/cmdline.d"
for module in hv_vmbus hv_storvsc sd_mod nvme pci-hyperv; do : > "$initramfs/usr/lib/modules/$kernel/kernel/drivers/$module.ko"; done
printf 'blacklist hv_netvsc\n' > "$initramfs/etc/modprobe.d/y.conf"
printf 'resume=UUID=cccc\n' > "$initramfs/etc/cmdline.d/90.conf"
(cd "$initramfs" && find . | sort | cpio -o -H newc --quiet) > "$work/cpio"
cp "$work/cpio" corpus/initramfs/plain
gzip -9c "$work/cpio" > corpus/initramfs/gzip
zstd -19qc "$work/cpio" > corpus/initramfs/zstd
xz -9 --check=crc32 -c "$work/cpio" > corpus/initramfs/xz
xz --format=lzma -c "$work/cpio" > corpus/initramfs/lzma
lz4 -l -9c "$work/cpio" > corpus/initramfs/lz4 2> /dev/null
cat "$work/cpio" corpus/initramfs/gzip > corpus/initramfs/two
cp corpus/initramfs/gzip "$root/boot/initrd.img-$kernel"

cp "$stub" corpus/pe/stub
head -c 66000 "$stub" > corpus/pe/short

volume() { # volume NAME MEBIBYTES: an empty file
  rm -f "$work/$1"
  truncate -s "$2M" "$work/$1"
}
volume ext4 8
mke2fs -q -F -t ext4 -O '^metadata_csum,^64bit' -U $uuid -L root -d "$root" "$work/ext4"
./pack.py "$work/ext4" corpus/ext/ext4
volume ext2 8
mke2fs -q -F -t ext2 -b 1024 -d "$root" "$work/ext2"
./pack.py "$work/ext2" corpus/ext/ext2
python3 "$tools/xfs_proto.py" "$root" > "$work/proto"
for crc in 0 1; do
  volume xfs 320
  # Not all tools still make file systems without checksums.
  options=$([ $crc = 1 ] || echo ,finobt=0,rmapbt=0,reflink=0,bigtime=0,inobtcount=0)
  mkfs.xfs -q -m "crc=$crc$options" -p "$work/proto" "$work/xfs" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
  ./pack.py "$work/xfs" corpus/xfs/crc$crc
done
volume btrfs 128
mkfs.btrfs -q -m single -d single --rootdir "$root" "$work/btrfs" > /dev/null
./pack.py "$work/btrfs" corpus/btrfs/single
volume btrfs 16
mkfs.btrfs -q --mixed -n 4096 -s 4096 --rootdir "$root/etc" "$work/btrfs" > /dev/null
./pack.py "$work/btrfs" corpus/btrfs/mixed

hive() { # hive OUT: the hive of the registry file on standard input
  ./empty_hive.py "$1"
  # hivexregedit wants every key above a key.
  # shellcheck disable=SC1003 # the separator is a backslash
  awk -F'\\\\' '/^\[/ { path = "["; for (i = 2; i < NF; i++) { path = path "\\" $i; if (!seen[path]++) print path "]\n" } } { print }' \
    > "$work/registry"
  hivexregedit --merge "$1" "$work/registry"
}
hive "$work/SYSTEM" <<'EOF'
Windows Registry Editor Version 5.00

[\Select]
"Current"=dword:00000001

[\ControlSet001\Services\storvsc]
"Start"=dword:00000000
"ImagePath"="System32\\drivers\\storvsc.sys"

[\ControlSet001\Services\storvsc\StartOverride]
"0"=dword:00000003

[\ControlSet001\Services\Tcpip\Parameters\Interfaces\{1}]
"EnableDHCP"=dword:00000000
"IPAddress"=hex(7):31,00,30,00,2e,00,30,00,00,00,00,00

[\ControlSet001\Control\Terminal Server]
"fDenyTSConnections"=dword:00000001
EOF
hive "$work/SOFTWARE" <<'EOF'
Windows Registry Editor Version 5.00

[\Microsoft\Windows NT\CurrentVersion]
"ProductName"="Windows Server 2022 Datacenter"
"CurrentBuild"="20348"
"UBR"=dword:00000a8b

[\Microsoft\Windows\CurrentVersion\Setup\State]
"ImageState"="IMAGE_STATE_COMPLETE"
EOF
hive "$work/BCD" <<'EOF'
Windows Registry Editor Version 5.00

[\Objects\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements\23000003]
"Element"="{22222222-3333-4444-5555-666666666666}"

[\Objects\{22222222-3333-4444-5555-666666666666}\Elements\11000001]
"Element"=hex:00,00,00,00,00,00,00,00,00,00,00,00,00,00,00,00,06,00,00,00,00,00,00,00,48,00,00,00,00,00,00,00,01,02,03,04,05,06,07,08,09,0a,0b,0c,0d,0e,0f,10,00,00,00,00,00,00,00,00,01,02,03,04,05,06,07,08,09,0a,0b,0c,0d,0e,0f,10,00,00,00,00,00,00,00,00,00,00,00,00,00,00,00,00
EOF
cp "$work/SYSTEM" "$work/SOFTWARE" "$work/BCD" corpus/hive/

esp() { # esp BITS: a FAT volume with a loader and a boot configuration
  volume esp 6
  [ "$1" != 32 ] || volume esp 34
  # The number of clusters decides about the width.
  local cluster=1
  [ "$1" != 12 ] || cluster=8
  mkfs.vfat -F "$1" -s $cluster -n ESP "$work/esp" > /dev/null
  mmd -i "$work/esp" ::/EFI ::/EFI/BOOT ::/EFI/debian ::/EFI/Microsoft ::/EFI/Microsoft/Boot
  head -c 66000 "$stub" > "$work/loader"
  mcopy -i "$work/esp" "$work/loader" ::/EFI/BOOT/BOOTX64.EFI
  mcopy -i "$work/esp" "$work/BCD" ::/EFI/Microsoft/Boot/BCD
  mcopy -i "$work/esp" "$root/etc/os-release" '::/EFI/debian/a long name that needs several entries.cfg'
}
for bits in 12 16 32; do
  esp $bits
  ./pack.py "$work/esp" corpus/fat/fat$bits
done
volume ntfs 8
mkntfs --fast --force --quiet --cluster-size 512 --partition-start 2048 "$work/ntfs" 2> /dev/null
./pack.py "$work/ntfs" corpus/ntfs/empty
# ntfs-3g writes folders; without FUSE there are only files.
for file in SYSTEM SOFTWARE; do ntfscp -fq "$work/ntfs" "$work/$file" "/$file" > /dev/null; done
./pack.py "$work/ntfs" corpus/ntfs/files
if [ -e /dev/fuse ] && [ "$(id -u)" = 0 ]; then
  mkdir "$work/mount"
  ntfs-3g -o compression "$work/ntfs" "$work/mount"
  mkdir -p "$work/mount/Windows/System32/config" "$work/mount/Windows/System32/drivers"
  cp "$work/SYSTEM" "$work/SOFTWARE" "$work/mount/Windows/System32/config/"
  for name in ntoskrnl.exe drivers/vmbus.sys drivers/storvsc.sys; do cp "$work/loader" "$work/mount/Windows/System32/$name"; done
  for number in $(seq 60); do head -c $((number * 30)) /dev/urandom > "$work/mount/Windows/file-$number"; done
  umount "$work/mount"
  ./pack.py "$work/ntfs" corpus/ntfs/windows
else
  echo "no NTFS seed with folders: that needs root and FUSE" >&2
fi

disk() { # disk NAME ROOT TYPE: a disk with an ESP and a root
  local size=$(($(stat -c %s "$work/$2") >> 20))
  volume disk $((8 + size))
  sgdisk -n 15:1M:+6M -t 15:ef00 -n "1:7M:+${size}M" -t "1:$3" "$work/disk" > /dev/null
  dd if="$work/esp" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
  dd if="$work/$2" of="$work/disk" bs=1M seek=7 conv=notrunc,sparse status=none
  ./pack.py "$work/disk" "corpus/inspect/$1"
}
esp 16
disk windows ntfs 0700
if [ "$(id -u)" = 0 ]; then
  volume pv 20
  loop=$(losetup -f --show "$work/pv")
  config="devices{use_devicesfile=0 filter=[\"a|$loop|\",\"r|.*|\"]} activation{udev_sync=0 udev_rules=0}"
  {
    pvcreate --config "$config" "$loop"
    vgcreate --config "$config" -An golden "$loop"
    vgcfgbackup --config "$config" -f "$work/text" golden
    python3 "$tools/lvm_text.py" "$work/text" 2 1
    vgcfgrestore --config "$config" -f "$work/text" golden
  } > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  losetup -d "$loop"
  loop=
  dd if="$work/ext4" of="$work/pv" bs=4M count=1 seek=1M oflag=seek_bytes conv=notrunc,sparse status=none
  dd if="$work/ext4" of="$work/pv" bs=4M skip=1 seek=$((1048576 + 2 * 4194304)) oflag=seek_bytes conv=notrunc,sparse status=none
  disk lvm pv 8e00
else
  echo "no LVM seed: that needs root" >&2
fi
# Last: run.sh takes it as a sign that the corpus is complete.
disk linux ext4 8300
