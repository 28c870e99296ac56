#!/usr/bin/env bash
# Reads damaged disks, file systems and hives: no panic, no read that exceeds a limit of the inspection, and at most 256 MB of memory
# in the whole process. It prints the time and the peak memory of each test. A process that allocates more than 400 MiB of address
# space, of which the programs themselves take about 100 MiB, fails at once.
#
# usage: tests/inside_damaged.sh [CASES [PART]]      CASES of each kind (20,000), and only tests whose file is PART
set -euo pipefail
cd "$(dirname "$0")/.."
cases=${1:-20000}
part=${2:-}

export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=0
log=$(cargo test -p goldfleet-inside --no-run 2>&1) || { echo "$log" >&2; exit 1; }
binaries=$(sed -n 's/.*Executable .*(\(.*\))/\1/p' <<<"$log")

measured() { # measured COMMAND...: its exit code, or 1 if it needs too much memory
    python3 -c '
import resource, subprocess, sys, time

begin = time.monotonic()
code = subprocess.run(sys.argv[1:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(f"{time.monotonic() - begin:.0f} s, {peak / 1e6:.0f} MB at most", flush=True)
sys.exit(code if code or peak <= 256_000_000 else "more than 256 MB of memory were needed")' "$@"
}

found=""
for binary in $binaries; do
    name=$(basename "$binary")
    if [ -n "$part" ] && [ "${name%-*}" != "$part" ]; then continue; fi
    tests=$("$binary" --list | sed -n 's/^\(.*damaged.*_to_an_end\): test$/\1/p')
    for test in $tests; do
        found=yes
        echo "$name: $test, $cases cases"
        (
            ulimit -v $((400 * 1024))
            # One arena: each thread's own would reserve 64 MiB of address space.
            GOLDFLEET_DAMAGED=$cases MALLOC_ARENA_MAX=1 measured "$binary" --exact "$test" --test-threads 1
        )
    done
done
[ -n "$found" ] || { echo "no test was run" >&2; exit 1; }
