#!/bin/sh
# Fuzzes each parser for SECONDS (default 300). Needs cargo-fuzz and a nightly compiler. What it finds is written to artifacts/;
# reduce it (cargo fuzz tmin), put it into ../tests/found with a name that says what it is, and fix it.
set -eu
cd "$(dirname "$0")"
seconds=${1:-300}
(cd .. && cargo test -q --test damaged -- --ignored write_the_corpus)
for target in vhd vhdx qcow2 vmdk compressed partitions detect; do
    mkdir -p "corpus/$target"
    cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=512 -timeout=20 -max_len=400000
done
