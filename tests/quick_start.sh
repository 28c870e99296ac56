#!/usr/bin/env bash
# Follows docs/quick-start.md word for word, from a fresh clone of what is committed here, and compares what is printed with
# what it shows. What cargo makes on the way is kept in target/, so that only goldfleet itself is built each time.
set -euo pipefail
cd "$(dirname "$0")/.."

git diff --quiet HEAD -- docs/quick-start.md || { echo "commit docs/quick-start.md first: it is followed as committed" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The document clones the public repository: git takes this one in its place.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$PWD.insteadOf"
export GIT_CONFIG_VALUE_0=https://github.com/goldfleet/goldfleet.git
# How fast it runs is not what is tried here, and optimising would take most of the time.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=0
export CARGO_BUILD_BUILD_DIR=${CARGO_TARGET_DIR:-$PWD/target} GOLDFLEET_QUICK_START=$folder
cargo test -p goldfleet-tests --test docs --locked -- --ignored --exact quick_start_runs_from_fresh_clone
