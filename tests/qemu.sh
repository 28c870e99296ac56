#!/usr/bin/env bash
# Puts Debian's QEMU for x86 into a folder of its own, and prints the folder that a PATH needs. Installed as a package, it would replace
# a newer qemu-utils (from backports), with which the images of the tests are made.
#
# usage: PATH=$(tests/qemu.sh):$PATH      nothing is done if there is a qemu-system-x86_64 on the PATH
set -euo pipefail
cd "$(dirname "$0")/.."
if command -v qemu-system-x86_64 >/dev/null; then
    dirname "$(command -v qemu-system-x86_64)"
    exit 0
fi
folder=$(realpath -m "${QEMU_CACHE:-target/qemu}")
if [ ! -x "$folder/bin/qemu-system-x86_64" ]; then
    rm -rf "$folder"
    mkdir -p "$folder/packages" "$folder/bin"
    # The package with those of its dependencies that are not installed.
    list() { apt-get -s install --no-install-recommends qemu-system-x86 2>/dev/null | sed -n 's/^Inst \([^ ]*\).*/\1/p'; }
    packages=$(list)
    if [ -z "$packages" ]; then
        apt-get update -qq
        packages=$(list)
    fi
    # apt's own user cannot write to this folder; root's warning about that is of no use.
    # shellcheck disable=SC2086 # several packages
    (cd "$folder/packages" && apt-get download -qq $packages 2>/dev/null)
    for package in "$folder"/packages/*.deb; do dpkg -x "$package" "$folder/root"; done
    rm -r "$folder/packages"
    cat >"$folder/bin/qemu-system-x86_64" <<'SCRIPT'
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")/root
LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu exec "$root/usr/bin/qemu-system-x86_64" \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu" "$@"
SCRIPT
    chmod +x "$folder/bin/qemu-system-x86_64"
fi
"$folder/bin/qemu-system-x86_64" --version >/dev/null
echo "$folder/bin"
