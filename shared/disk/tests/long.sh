#!/bin/sh
# The long form of the tests: 2,000 random layouts and 20,000 damaged files. It prints counts, times and peak memory, and takes half
# an hour on two cores. Needs qemu-utils, xz-utils, zstd and bzip2.
set -eu
cd "$(dirname "$0")/.."
GOLDFLEET_LAYOUTS=${GOLDFLEET_LAYOUTS:-2000} cargo test --test layouts -- --nocapture
GOLDFLEET_DAMAGED=${GOLDFLEET_DAMAGED:-20000} cargo test --test damaged -- --nocapture damaged_images
