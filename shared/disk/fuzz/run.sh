#!/bin/sh
# Fuzzes each parser for SECONDS (default 300): run.sh [SECONDS [TARGET...]]. Needs cargo-fuzz (cargo install cargo-fuzz) and a C++
# compiler. Without a nightly toolchain, the stable compiler is allowed to use the flags that cargo-fuzz passes.
#
# libFuzzer writes an input that fails to artifacts/. Reduce it (cargo fuzz tmin), copy the image that it stands for to
# ../tests/found under a name that describes the fault, and fix the fault.
set -eu
cd "$(dirname "$0")"
seconds=${1:-300}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- vhd vhdx qcow2 vmdk compressed partitions detect

(cd .. && cargo test -q --test damaged -- --ignored write_fuzz_corpus)
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
    # shellcheck disable=SC2086
    cargo $toolchain fuzz run --sanitizer none "$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=256 -timeout=60 -max_len=600000 -print_final_stats=1
done
