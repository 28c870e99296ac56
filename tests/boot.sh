#!/bin/bash
# Boots disks in QEMU: prepared disks, to compare what the inspection predicts with what happens, and the VHDs that goldfleet makes
# of disks in all formats.
#
# usage: tests/boot.sh           everything
#        tests/boot.sh --short   one disk, one boot: rollout ext4-vhdx
#        tests/boot.sh NAME...   only these cases; predictions and rollouts name all of their kind
#
# Predictions: QEMU has no VMBus, so that the inspection predicts for virtio or NVMe instead of Hyper-V; everything else is as for
# Azure. A disk with an error must stop with a known sign before a login prompt, and a disk without one must reach it.
#
# Rollouts: a Debian root on ext4, XFS, btrfs or LVM goes in as VHDX, qcow2, VMDK, raw, dynamic or fixed VHD, through check, upload,
# seed, copy and image on the directory cloud. The VHDs of all targets must hold the disk byte for byte, and one must boot.
#
# Runs as root. Needs the packages mmdebstrap, e2fsprogs, xfsprogs, btrfs-progs, dosfstools, mtools, gdisk, lvm2, zstd, cpio,
# qemu-utils and ovmf, and a package mirror for the first run: the systems are kept in target/inside, and QEMU in target/qemu. A boot
# takes 30 to 110 seconds on two idle cores; BOOT_SECONDS changes the limit. GOLDFLEET_PROGRAMS names the folder of goldfleet, which
# is otherwise built.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/shared/inside/tests/disks
cache=$(realpath -m "${INSIDE_CACHE:-target/inside}")
seconds=${BOOT_SECONDS:-300}
PATH=$(tests/qemu.sh):$PATH
mkdir -p "$cache"

work=$(mktemp -d "$cache/boot.XXXXXX")
trap 'rm -rf "$work"' EXIT
disk=$work/disk.raw
esp=$disk@@1M
root="$disk?offset=$((66 * 1048576))"

made() { # made FOLDER KIND: the path of the unchanged disk, which is made once
  local made=$cache/$1-$2.raw
  [ -e "$cache/$1/etc/os-release" ] || "$tools/root.sh" "${builder[$1]}" "$cache/$1" >&2
  [ -e "$made" ] || "$tools/disk.sh" "$cache/$1" "$made" "$2" >&2
  echo "$made"
}
base() { # base FOLDER KIND: a copy of the unchanged disk
  local made
  made=$(made "$1" "$2")
  cp --sparse=always "$made" "$disk"
}
declare -A builder=([debian12]=initramfs-tools [debian13]=dracut)

in_root() { # in_root COMMAND...: changes the ext4 root without mounting it
  printf '%s\n' "$@" | debugfs -w -f - "$root" > "$work/debugfs.log" 2>&1
}
replace() { # replace PATH FILE
  in_root "rm $1" "write $2 $1"
}
edit() { # edit PATH SED-EXPRESSION
  debugfs -R "cat $1" "$root" 2> /dev/null | sed -e "$2" > "$work/edited"
  replace "$1" "$work/edited"
}
initramfs() { # initramfs MODULE...: with these modules only
  local folder=$cache/debian12 image=$work/initrd.img
  rm -rf "$folder/tmp/conf"
  cp -a "$folder/etc/initramfs-tools" "$folder/tmp/conf"
  sed -i 's/^MODULES=.*/MODULES=list/' "$folder/tmp/conf/initramfs.conf"
  printf '%s\n' "$@" > "$folder/tmp/conf/modules"
  chroot "$folder" mkinitramfs -d /tmp/conf -o /tmp/initrd.img "$(version)" 2> /dev/null
  mv "$folder/tmp/initrd.img" "$image"
  rm -rf "$folder/tmp/conf"
  replace "/boot/initrd.img-$(version)" "$image"
}
version() { (cd "$cache/debian12/boot" && ls vmlinuz-*) | sed 's/^vmlinuz-//' | sort -V | tail -1; }
foreign=99999999-8888-7777-6666-555555555555

# Each case prepares the disk and sets: code (the error that is expected, or empty) and arguments of the boot.
case_good() { base debian12 ext4; }
case_good_nvme() { base debian12 ext4; bus=nvme; }
case_good_xfs() { base debian12 xfs; }
case_good_btrfs() { base debian12 btrfs; }
case_good_lvm() { base debian12 lvm; }
case_good_dracut() { base debian13 ext4; }
case_only_virtio() { base debian12 ext4; initramfs ext4 virtio_pci virtio_blk; }
# Debian's cloud kernel has the NVMe driver built in.
case_only_virtio_on_nvme() { case_only_virtio; bus=nvme; }
case_only_nvme() { base debian12 ext4; initramfs ext4 nvme; code=no-storage-driver; }
case_only_nvme_on_nvme() { base debian12 ext4; initramfs ext4 nvme; bus=nvme; }
# The cloud kernel has ext4 built in, but not XFS.
case_no_file_system_driver() {
  base debian12 ext4
  initramfs virtio_pci virtio_blk xfs
  mkdir "$work/unpacked"
  (
    cd "$work/unpacked"
    zstd -dqc ../initrd.img | cpio -id --quiet
    find . -name 'xfs.ko*' -delete
    find . | cpio -o -H newc --quiet | zstd -qc > ../initrd.img
  )
  rm -rf "$work/unpacked"
  local installed
  installed=$cache/debian12/boot/initrd.img-$(version)
  cp "$installed" "$work/installed"
  cp "$work/initrd.img" "$installed"
  "$tools/disk.sh" "$cache/debian12" "$disk" xfs
  cp "$work/installed" "$installed"
  code=no-storage-driver
}
case_wrong_root() {
  base debian12 ext4
  edit /boot/grub/grub.cfg "s/root=UUID=[0-9a-f-]*/root=UUID=$foreign/"
  code="root-missing"
}
case_foreign_fstab() {
  base debian12 ext4
  edit /etc/fstab "\$a UUID=$foreign /data ext4 defaults,x-systemd.device-timeout=5s 0 2"
  code=fstab-missing
}
case_foreign_fstab_nofail() {
  base debian12 ext4
  edit /etc/fstab "\$a UUID=$foreign /data ext4 defaults,nofail,x-systemd.device-timeout=5s 0 2"
}
case_no_fallback_loader() { base debian12 ext4; mdel -i "$esp" ::/EFI/BOOT/BOOTX64.EFI; code=no-fallback-loader; }
case_shim_alone() { base debian12 ext4; mdel -i "$esp" ::/EFI/BOOT/grubx64.efi; code=no-fallback-loader; }
case_loader_searches_foreign_root() {
  base debian12 ext4
  mtype -i "$esp" ::/EFI/debian/grub.cfg | sed "s/fs_uuid [0-9a-f-]*/fs_uuid $foreign/" > "$work/grub.cfg"
  mcopy -o -i "$esp" "$work/grub.cfg" ::/EFI/debian/grub.cfg
  code="root-missing"
}
case_initramfs_cut_off() {
  base debian12 ext4
  debugfs -R "dump /boot/initrd.img-$(version) $work/initrd.img" "$root" 2> /dev/null
  truncate -s "$(($(stat -c %s "$work/initrd.img") / 3))" "$work/initrd.img"
  replace "/boot/initrd.img-$(version)" "$work/initrd.img"
  code=initramfs-damaged
}
case_initramfs_missing() { base debian12 ext4; in_root "rm /boot/initrd.img-$(version)"; code=initramfs-damaged; }
case_kernel_missing() { base debian12 ext4; in_root "rm /boot/vmlinuz-$(version)"; code=no-kernel; }
case_secure_boot() { base debian12 ext4; secure=--secure; }
case_secure_boot_unsigned() {
  base debian12 ext4
  unsigned=$cache/debian12/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed
  python3 "$tools/unsign.py" "$unsigned" "$work/grubx64.efi"
  mcopy -o -i "$esp" "$work/grubx64.efi" ::/EFI/BOOT/BOOTX64.EFI
  secure=--secure code=secure-boot
}

failed=0 count=0
agreed() { # agreed VERDICT: counts a case
  count=$((count + 1))
  [ "$1" = agreed ] || failed=$((failed + 1))
}

predict() { # predict NAME: prepares the disk, inspects it, and boots it
  local name=$1 start=$SECONDS
  bus=virtio secure='' code=''
  "case_$name"
  errors=$("$inspect" "$disk" --hardware "$bus" ${secure:+--secure-boot} | awk '$1 == "error" { print $2 }' | sort -u || true)
  # shellcheck disable=SC2086 # an empty option is left out
  booted=$(SERIAL_LOG=$cache/boot-$name.log "$tools/boot.py" "$disk" "$seconds" --bus "$bus" $secure || true)
  verdict=agreed
  [ "$errors" = "$code" ] || verdict="WRONG PREDICTION (expected: ${code:-none})"
  predicted=${errors:-login}
  if [ -n "$errors" ] && [ "$booted" = login ]; then verdict=DISAGREED; fi
  if [ "$predicted" = login ] && [ "$booted" != login ]; then verdict=DISAGREED; fi
  case $booted in timeout | "QEMU ended") verdict="NO RESULT" ;; esac
  printf '%-32s predicted %-20s booted to %-32s %4d s  %s\n' "$name" "$predicted" "'$booted'" $((SECONDS - start)) "$verdict"
  agreed "$verdict"
}

image() { # image DISK FORMAT: writes the disk as $work/rollout/golden in the format
  local out=$work/rollout/golden
  case $2 in
    raw) cp --sparse=always "$1" "$out" ;;
    dynamic-vhd) qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$1" "$out" ;;
    fixed-vhd) qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on "$1" "$out" ;;
    *) qemu-img convert -f raw -O "$2" "$1" "$out" ;;
  esac
}

send() { # send: check and rollout of $work/rollout/golden to two targets, of which one is in another region than the source
  cat > goldfleet.toml <<'EOF'
[coordination]
backend = "embedded"
path = "goldfleet.db"

[cloud]
backend = "directory"
root = "cloud"

[source]
subscription = "00000000-0000-0000-0000-000000000000"
region = "westeurope"
account = "goldsource"
container = "golden"
EOF
  echo 00000000-0000-0000-0000-000000000001 > subscriptions.txt
  "$goldfleet" targets generate --subscriptions subscriptions.txt --regions westeurope,eastus --prefix stage &&
    "$goldfleet" check golden && "$goldfleet" upload golden --image debian --version 1.0.0 --os linux --wait
}

rollout() { # rollout KIND-FORMAT
  local kind=${1%%-*} format=${1#*-} start=$SECONDS source booted='' verdict=agreed
  source=$(made debian12 "$kind")
  mkdir "$work/rollout"
  image "$source" "$format"
  if ! (cd "$work/rollout" && send) > "$work/rollout/log" 2>&1; then
    verdict="THE ROLLOUT FAILED"
  elif ! grep -q '^note \[system\]: Debian GNU/Linux 12' "$work/rollout/log"; then
    verdict="THE SYSTEM WAS NOT FOUND"
  else
    mapfile -t vhds < <(find "$work/rollout/cloud" -name '*.vhd' | sort)
    [ "${#vhds[@]}" = 2 ] || verdict="${#vhds[@]} VHDS"
    for vhd in "${vhds[@]}"; do
      cmp -n "$(stat -c %s "$source")" "$source" "$vhd" || verdict="THE VHD DIFFERS"
    done
    booted=$(SERIAL_LOG=$cache/boot-$1.log "$tools/boot.py" "${vhds[0]}" "$seconds" --format vpc || true)
    [ "$booted" = login ] || verdict="DID NOT BOOT"
  fi
  [ "$verdict" = agreed ] || cat "$work/rollout/log"
  printf '%-32s VHDs at 2 targets              booted to %-32s %4d s  %s\n' "$1" "'$booted'" $((SECONDS - start)) "$verdict"
  agreed "$verdict"
  rm -rf "$work/rollout"
}

mapfile -t predictions < <(declare -F | sed -n 's/^declare -f case_//p')
rollouts=()
for kind in ext4 xfs btrfs lvm; do
  for format in vhdx qcow2 vmdk raw dynamic-vhd fixed-vhd; do rollouts+=("$kind-$format"); done
done
[ "${1:-}" = --short ] && set -- ext4-vhdx
[ $# -gt 0 ] || set -- predictions rollouts
cases=()
for name in "$@"; do
  case $name in
    predictions) cases+=("${predictions[@]}") ;;
    rollouts) cases+=("${rollouts[@]}") ;;
    *) cases+=("$name") ;;
  esac
done

cargo build --quiet --release -p goldfleet-inside --example inspect
inspect=$PWD/target/release/examples/inspect
if [ -n "${GOLDFLEET_PROGRAMS:-}" ]; then
  goldfleet=$(realpath "$GOLDFLEET_PROGRAMS")/goldfleet
else
  cargo build --quiet -p goldfleet-dispatcher --bin goldfleet
  goldfleet=$PWD/target/debug/goldfleet
fi
"$goldfleet" version
for name in "${cases[@]}"; do
  if declare -F "case_$name" > /dev/null; then
    predict "$name"
  elif [[ " ${rollouts[*]} " == *" $name "* ]]; then
    rollout "$name"
  else
    echo "unknown case: $name" >&2
    exit 1
  fi
done
echo "$((count - failed)) of $count cases agreed"
[ "$failed" = 0 ]
