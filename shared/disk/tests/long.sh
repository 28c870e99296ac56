#!/bin/sh
# The long form of the tests: 2,000 random layouts, each delivered to two targets of the directory cloud by the program itself, and
# 20,000 damaged files. It prints counts, times and peak memory, and takes an hour on two cores. Needs qemu-utils, xz-utils, zstd and
# bzip2.
set -eu
cd "$(dirname "$0")/.."
(cd ../.. && cargo build --quiet -p goldfleet-dispatcher --bin goldfleet)
GOLDFLEET_DELIVER=${GOLDFLEET_DELIVER:-$(realpath "${CARGO_TARGET_DIR:-../../target}")/debug/goldfleet}
export GOLDFLEET_DELIVER
GOLDFLEET_LAYOUTS=${GOLDFLEET_LAYOUTS:-2000} cargo test --test layouts -- --nocapture
GOLDFLEET_DAMAGED=${GOLDFLEET_DAMAGED:-20000} cargo test --test damaged -- --nocapture damaged_images
