#!/bin/sh
# Fuzzes each parser for SECONDS (default 300): run.sh [SECONDS [TARGET...]]. Needs cargo-fuzz (cargo install cargo-fuzz), a C++
# compiler and the tools of corpus.sh. Without a nightly toolchain, the stable compiler is allowed to use the flags that cargo-fuzz
# passes.
set -eu
cd "$(dirname "$0")"
seconds=${1:-300}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- fat ntfs ext xfs btrfs hive pe initramfs inspect

[ -e corpus/inspect/linux ] || ./corpus.sh
if cargo +nightly --version >/dev/null 2>&1; then
    toolchain=+nightly
else
    toolchain=
    export RUSTC_BOOTSTRAP=1
fi
# The crate has no unsafe code, so that a sanitizer would only multiply memory and time.
# shellcheck disable=SC2086 # an empty toolchain is no argument
cargo $toolchain fuzz build --sanitizer none
for target in "$@"; do
    # An inspection may take 256 MB; libFuzzer and its corpus take the rest.
    # shellcheck disable=SC2086
    cargo $toolchain fuzz run --sanitizer none "$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=768 -malloc_limit_mb=256 -timeout=60 -max_len=1500000 -print_final_stats=1
done
