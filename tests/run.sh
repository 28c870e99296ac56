#!/usr/bin/env bash
# Everything that must hold before a change lands: formatting, lints, tests, documentation. Installs what a fresh machine
# lacks beside Rust and a C compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null && return
    echo "installing $2 for $1"
    local sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null
}
need qemu-img qemu-utils # makes the images that the VHD reader is tested against
need mke2fs e2fsprogs    # makes the file system that the scan benchmark reads
need npm npm             # brings Azurite, Microsoft's storage emulator
if ! cmp -s tests/azurite/package-lock.json tests/azurite/node_modules/.goldfleet-lock; then
    npm ci --prefix tests/azurite --no-audit --no-fund --loglevel=error
    cp tests/azurite/package-lock.json tests/azurite/node_modules/.goldfleet-lock
fi

export CARGO_TERM_COLOR=never INSTA_UPDATE=no
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo test --workspace --locked
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

# What is in infra/: the upload script and a container's constraints with the programs themselves, the rest by lints.
cargo build --workspace --bins --locked
bash tests/upload_script.sh
bash tests/container.sh
bash infra/check.sh
