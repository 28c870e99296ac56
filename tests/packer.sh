#!/usr/bin/env bash
# Runs the Packer template of docs/images.md as it is on the page: Packer's QEMU builder boots a small made disk that shuts the
# machine down, and the post-processor hands the result to infra/upload-vhd.sh with a real goldfleet on one machine.
#
# usage: tests/packer.sh
#
# Needs the packages packer and qemu-utils (Debian 12 has Packer 1.6.6), and a built goldfleet: GOLDFLEET_BINARY names it, or else
# target/debug/goldfleet. tests/qemu.sh gets QEMU. The disk boots by emulation.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in packer qemu-img python3; do
    command -v "$program" >/dev/null || { echo "there is no $program: install packer and qemu-utils" >&2; exit 1; }
done
PATH=$(tests/qemu.sh):$PATH
repository=$PWD
binary=$(realpath "${GOLDFLEET_BINARY:-target/debug/goldfleet}")
[ -x "$binary" ] || { echo "there is no $binary: 'cargo build' first" >&2; exit 1; }
unset GOLDFLEET_CONFIG
export GOLDFLEET=$binary CHECKPOINT_DISABLE=1 PACKER_NO_COLOR=1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
ln -s "$repository/infra" infra
export PACKER_CACHE_DIR=$folder/cache

# The page's template, unchanged.
# shellcheck disable=SC2016 # the fence of a code block
sed -n '/^```hcl$/,/^```$/p' "$repository/docs/images.md" | sed '/^```/d' >golden.pkr.hcl
grep -q '^source "qemu" "golden"' golden.pkr.hcl || { echo "docs/images.md has no template" >&2; exit 1; }

# A disk of 32 MiB whose boot sector asks the chipset (PIIX4) for S5, and with a Linux partition of random data.
disk() { # disk FILE
    python3 - "$1" <<'PYTHON'
import os, struct, sys
code = bytes([0xBA, 0x04, 0x06, 0xB8, 0x00, 0x20, 0xEF, 0xF4, 0xEB, 0xFD])  # out 0x604, 0x2000; hlt
entry = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\0\0\0", 2048, 63488)
with open(sys.argv[1], "wb") as disk:
    disk.truncate(32 << 20)
    disk.write(code.ljust(446, b"\0") + entry + bytes(48) + b"\x55\xaa")
    disk.seek(4 << 20)
    disk.write(os.urandom(1 << 20))
PYTHON
}
cat >goldfleet.toml <<'TOML'
[source]
subscription = "00000000-0000-0000-0000-000000000000"
region = "westeurope"
account = "goldsource"
container = "golden"
TOML
for place in 1/westeurope 2/eastus; do
    cat >>targets.toml <<TOML
[[target]]
subscription = "00000000-0000-0000-0000-00000000000${place%/*}"
region = "${place#*/}"
resource_group = "images"
account = "stage${place%/*}"
container = "vhds"
TOML
done

passed=0 failed=0
verdict() { # verdict NAME COMMAND…: the command must succeed
    local name=$1
    shift
    if "$@" >/dev/null 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n--- exit code %s of packer, which said:\n%s\n' "$name" "$code" "$(cat log)"
    fi
}
build() { # build VERSION: leaves code and log
    code=0
    disk base.raw
    timeout 600 packer build -force -var base=base.raw -var base_checksum="sha256:$(sha256sum base.raw | cut -d' ' -f1)" \
        -var version="$1" -var accelerator=none -var disk_size=64M golden.pkr.hcl >log 2>&1 || code=$?
}

build 2026.11.1
verdict "the template builds and hands over" test "$code" = 0
verdict "goldfleet printed its table" grep -q "ubuntu-24.04 2026.11.1, succeeded" log
verdict "there is an image at both targets" test "$(find cloud -path '*/images/*.json' | wc -l)" = 2
qemu-img convert -O raw output/golden.qcow2 golden.raw
verdict "the VHD at a target begins with the disk that Packer built" \
    cmp -n "$(stat -c %s golden.raw)" golden.raw "$(find cloud/stage2 -name '*.vhd' | head -1)"

rm -rf cloud/stage2
touch cloud/stage2
build 2026.12.1
verdict "a target that fails makes packer fail" test "$code" = 1
verdict "the log of packer says why" grep -q "account-unusable" log
rm cloud/stage2
job=$("$binary" jobs --limit 1 -o json 2>/dev/null | grep -o '[0-9]\{8\}-[0-9]\{6\}-[0-9a-f]*' | head -1)
# Without the disk, which Packer may have deleted: the chunks are in the store.
rm -rf output base.raw
verdict "retry creates the missing image" "$binary" retry "$job" --wait

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
