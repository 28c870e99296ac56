#!/bin/bash
# Makes a folder with a bootable Debian system: kernel, initramfs, signed loaders, cloud-init, SSH server.
#
# usage: root.sh initramfs-tools|dracut FOLDER
#
# Runs as root, because the files belong to root. Needs mmdebstrap. Takes 2 to 5 minutes; an existing folder is kept.
set -euo pipefail
builder=$1 folder=$2
[ -e "$folder/etc/os-release" ] && exit 0
base="systemd-sysv udev dbus kmod e2fsprogs dosfstools zstd shim-signed grub-efi-amd64-signed openssh-server cloud-init \
iproute2 passwd ca-certificates sudo"
case $builder in
  initramfs-tools) suite=bookworm packages="$base initramfs-tools linux-image-cloud-amd64 lvm2" ;;
  dracut) suite=trixie packages="$base dracut linux-image-amd64 waagent xfsprogs btrfs-progs lvm2" ;;
  *) echo "unknown: $builder" >&2; exit 1 ;;
esac
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
mkdir -p "$folder"
mmdebstrap --quiet --variant=minbase --mode=root --format=tar --include="$packages" \
  --customize-hook='echo golden > "$1/etc/hostname"; : > "$1/etc/machine-id"; rm -f "$1"/etc/ssh/ssh_host_*' \
  "$suite" - "$mirror" | tar -C "$folder" -x
