#!/usr/bin/env bash
# infra/upload-vhd.sh with a real goldfleet (on one machine, as in the README), and with a made-up one that shows what it
# was called with. GOLDFLEET_BINARY names the program; target/debug/goldfleet, where it does not.
set -euo pipefail
cd "$(dirname "$0")/.."

script=$PWD/infra/upload-vhd.sh
binary=$(realpath "${GOLDFLEET_BINARY:-target/debug/goldfleet}")
[ -x "$binary" ] || { echo "there is no $binary: 'cargo build' first" >&2; exit 1; }
unset GOLDFLEET GOLDFLEET_CONFIG

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir fake
cat >fake/goldfleet <<'EOF'
#!/usr/bin/env bash
printf '<%s>' "$@"
echo
[[ " $* " == *" check "* ]] && exit "${CHECK_CODE:-0}"
if [ -n "${WAIT:-}" ]; then
    trap 'exit 42' TERM
    touch waiting
    while :; do sleep 0.05; done
fi
exit "${UPLOAD_CODE:-0}"
EOF
chmod +x fake/goldfleet

passed=0 failed=0
verdict() { # verdict NAME GOOD
    if [ "$2" = yes ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n--- exit code %s, standard output:\n%s\n--- standard error:\n%s\n' \
            "$1" "$code" "$(cat out)" "$(cat err)"
    fi
}
run() { # run COMMAND…: leaves code, out and err
    code=0
    "$@" >out 2>err || code=$?
}
expect() { # expect NAME CODE [out|err TEXT]…
    local name=$1 good=yes
    [ "$code" = "$2" ] || good=no
    shift 2
    while [ $# -gt 0 ]; do
        grep -qF -e "$2" "$1" || good=no
        shift 2
    done
    verdict "$name" "$good"
}
fake() { run env GOLDFLEET="$folder/fake/goldfleet" "$@"; }

# What is said to it.
run "$script" --help
expect "help needs nothing else" 0 out "Usage: upload-vhd.sh" out "130 interrupted"
[ ! -s err ] && good=yes || good=no
verdict "help goes to standard output only" "$good"
run "$script" -h
expect "-h is help" 0 out "Usage:"

all=(--image ubuntu --version 1.0.0 --os linux)
fake "$script"
expect "no file" 2 err "no file given" err "Usage:"
fake "$script" golden.vhd --version 1.0.0 --os linux
expect "no image" 2 err "--image is missing"
fake "$script" golden.vhd --image ubuntu --os linux
expect "no version" 2 err "--version is missing"
fake "$script" golden.vhd --image ubuntu --version 1.0.0
expect "no operating system" 2 err "--os is missing"
fake "$script" golden.vhd --image ubuntu --version 1.0.0 --os beos
expect "another operating system" 2 err "not 'beos'"
fake "$script" golden.vhd "${all[@]}" --colour red
expect "an unknown option" 2 err "unknown option --colour"
fake "$script" one.vhd two.vhd "${all[@]}"
expect "two files" 2 err "'one.vhd' and 'two.vhd'"
fake "$script" golden.vhd --image ubuntu --version 1.0.0 --os
expect "an option without its value" 2 err "--os needs a value"
fake "$script" golden.vhd --image= --version 1.0.0 --os linux
expect "an empty value" 2 err "--image needs a value"
[ ! -s out ] && good=yes || good=no
verdict "on bad usage goldfleet is not called" "$good"

# How it finds goldfleet.
run env GOLDFLEET=/nowhere/goldfleet "$script" golden.vhd "${all[@]}"
expect "GOLDFLEET names nothing" 2 err "GOLDFLEET names /nowhere/goldfleet, which is not a program"
run env PATH="/usr/bin:/bin" "$script" golden.vhd "${all[@]}"
expect "not on the PATH" 2 err "goldfleet is not on the PATH"
run env PATH="$folder/fake:$PATH" "$script" golden.vhd "${all[@]}"
expect "on the PATH" 0 out "<check><golden.vhd>"

# What it says to goldfleet.
fake "$script" --config "my config.toml" --generation=v2 "${all[@]}" "my golden.vhd"
expect "words arrive as they are" 0 \
    out "<--config><my config.toml><check><my golden.vhd><--image><ubuntu><--generation><v2>" \
    out "<--config><my config.toml><upload><my golden.vhd><--image><ubuntu><--version><1.0.0><--os><linux><--generation><v2><--wait>"
fake "$script" "${all[@]}" golden.vhd --limit 1MiB/s --target 'west*' --target=eastus --ring 0 --note "CHG 1" --approve
expect "options of the job arrive" 0 \
    out "<--limit><1MiB/s><--target><west*><--target><eastus><--ring><0><--note><CHG 1><--approve><--wait>"
for code_wanted in 1 2 3 130; do
    fake env UPLOAD_CODE=$code_wanted "$script" golden.vhd "${all[@]}"
    expect "upload's exit code $code_wanted is passed on" "$code_wanted"
done
fake env CHECK_CODE=2 "$script" golden.vhd "${all[@]}"
expect "check's exit code is passed on" 2 out "<check>"
grep -q upload out && good=no || good=yes
verdict "after a failed check nothing is uploaded" "$good"

WAIT=1 GOLDFLEET="$folder/fake/goldfleet" "$script" golden.vhd "${all[@]}" >out 2>err &
for _ in $(seq 200); do [ -e waiting ] && break; sleep 0.05; done
kill -TERM $!
code=0
wait $! || code=$?
expect "a signal reaches goldfleet" 42

# With goldfleet itself.
cat >goldfleet.toml <<'EOF'
[source]
subscription = "00000000-0000-0000-0000-000000000000"
region = "westeurope"
account = "goldsource"
container = "golden"
EOF
for place in 1/westeurope 2/eastus; do
    cat >>targets.toml <<EOF
[[target]]
subscription = "00000000-0000-0000-0000-00000000000${place%/*}"
region = "${place#*/}"
resource_group = "images"
account = "stage${place%/*}"
container = "vhds"
EOF
done
head -c 33554432 /dev/zero >disk.raw
printf 'goldfleet' | dd of=disk.raw bs=1M seek=3 conv=notrunc status=none
qemu-img convert -q -f raw -O vpc -o subformat=fixed,force_size disk.raw golden.vhd
export GOLDFLEET=$binary
run "$script" golden.vhd "${all[@]}"
expect "a VHD that cannot be told the generation of" 2 out "generation-unknown"
run "$script" disk.raw "${all[@]}" --generation v1
expect "a file that is no VHD" 2 out "error ["
[ ! -e cloud ] && good=yes || good=no
verdict "of what was refused nothing was sent" "$good"
run "$script" golden.vhd "${all[@]}" --generation v1
expect "a VHD becomes an image at both targets" 0 out "ubuntu 1.0.0, succeeded" out "image   100.0%  2/2"
[ "$(find cloud -path '*/images/*.json' | wc -l)" = 2 ] && good=yes || good=no
verdict "there are two images" "$good"
rm -rf cloud/stage2 && touch cloud/stage2
printf 'another' | dd of=disk.raw bs=1M seek=9 conv=notrunc status=none
qemu-img convert -q -f raw -O vpc -o subformat=fixed,force_size disk.raw golden.vhd
run "$script" golden.vhd --image ubuntu --version 1.0.1 --os linux --generation v1
expect "a target fails: exit code 1, and the table says why" 1 out "ubuntu 1.0.1, failed" out "account-unusable"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
