#!/usr/bin/env bash
# Runs the two programs as a container would, without a container engine: a root file system with nothing but what
# distroless/cc has (glibc, libgcc, root certificates, a user), mounted read-only, as process 1 of its own namespaces,
# as user 65532, without capabilities and without a way to new ones, with no network but its own loopback; and asks them
# how they fare, as the image's health check does.
# BINARIES names the folder of the programs; target/debug, where it does not. Needs root, for the mounts.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=BINARIES bash "$0"
cd "$(dirname "$0")/.."
# shellcheck source=tests/distroless.sh
. tests/distroless.sh

binaries=$(realpath "${BINARIES:-target/debug}")
for program in goldfleet goldfleet-worker; do
    [ -x "$binaries/$program" ] || { echo "there is no $binaries/$program: 'cargo build' first" >&2; exit 1; }
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root
distroless "$root"
mkdir -p "$root"/{data,etc/goldfleet}
install -t "$root/usr/local/bin" "$binaries/goldfleet" "$binaries/goldfleet-worker"
cat >"$root/etc/goldfleet/goldfleet.toml" <<'EOF'
[coordination]
backend = "embedded"
path = "/data/goldfleet.db"
[cloud]
backend = "directory"
root = "/data/cloud"
[source]
subscription = "00000000-0000-0000-0000-000000000000"
region = "westeurope"
account = "goldsource"
container = "golden"
EOF
cat >"$root/etc/goldfleet/targets.toml" <<'EOF'
[[target]]
subscription = "00000000-0000-0000-0000-000000000001"
region = "westeurope"
resource_group = "images"
account = "stage0001"
container = "vhds"
EOF
# Whoever it is may write here, so that what hinders is the mount.
chmod 777 "$root/etc"
# Data of each run is kept for the next: a volume.
data=$folder/data
mkdir "$data"
chown 65532:65532 "$data"
head -c 33554432 /dev/zero >"$folder/disk.raw"
printf 'goldfleet' | dd of="$folder/disk.raw" bs=1M seek=3 conv=notrunc status=none
qemu-img convert -q -f raw -O vpc -o subformat=fixed,force_size "$folder/disk.raw" "$data/golden.vhd"

contained() { # contained PROGRAM ARGUMENTS…: in place of this shell
    # shellcheck disable=SC2016 # expanded by the inner shell
    exec unshare --mount --pid --net --ipc --uts --fork --kill-child sh -euc '
        root=$1 data=$2
        shift 2
        ip link set lo up
        mount --make-rprivate /
        mount --bind "$root" "$root"
        mount --bind "$data" "$root/data"
        mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc"
        mount -o remount,bind,ro "$root"
        exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups=65532 "$root" "$@"
    ' sh "$root" "$data" "$@"
}
export GOLDFLEET_CONFIG=/etc/goldfleet/goldfleet.toml
# As in the image.
export GOLDFLEET_WORKER__LISTEN=0.0.0.0:8080 GOLDFLEET_DISPATCH__LISTEN=0.0.0.0:8080

passed=0 failed=0
verdict() { # verdict NAME GOOD
    if [ "$2" = yes ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n%s\n' "$1" "$(cat "$folder/out")"
    fi
}
run() { # run NAME CODE TEXT PROGRAM ARGUMENTS…
    local name=$1 wanted=$2 text=$3 code=0 good=yes
    shift 3
    (contained "$@") >"$folder/out" 2>&1 || code=$?
    { [ "$code" = "$wanted" ] && grep -qF -e "$text" "$folder/out"; } || good=no
    verdict "$name: exit code $code" "$good"
}

run "goldfleet starts" 0 goldfleet /usr/local/bin/goldfleet --version
run "goldfleet-worker starts" 0 goldfleet-worker /usr/local/bin/goldfleet-worker --version
GOLDFLEET_COORDINATION__PATH=/etc/goldfleet.db run "what is not a volume cannot be written to" 2 "" \
    /usr/local/bin/goldfleet jobs
run "an image is made" 0 "image   100.0%  1/1" /usr/local/bin/goldfleet upload /data/golden.vhd --image ubuntu \
    --version 1.0.0 --os linux --generation v1 --wait

# A worker and a dispatcher that have nothing to do, then SIGTERM.
for words in /usr/local/bin/goldfleet-worker "/usr/local/bin/goldfleet dispatcher"; do
    read -ra command <<<"$words"
    (contained "${command[@]}") >"$folder/out" 2>&1 &
    outer=$!
    inner=""
    for _ in $(seq 100); do
        inner=$(pgrep -P "$outer" || true)
        [ -n "$inner" ] && [ "/proc/$inner/root/usr/local/bin/${command[0]##*/}" -ef "/proc/$inner/exe" ] && break
        sleep 0.05
    done
    for _ in $(seq 100); do # until it listens
        code=0
        nsenter --target "$inner" --mount --pid --net --ipc --uts --root --wd=/ --setuid 65532 --setgid 65532 \
            "${command[0]}" health >"$folder/health" 2>&1 || code=$?
        [ "$code" != 0 ] || break
        sleep 0.1
    done
    [ "$code" = 0 ] && good=yes || good=no
    verdict "$words: its health check (it said: $(cat "$folder/health"))" "$good"
    status=$(cat "/proc/$inner/status")
    for line in "CapEff:[[:space:]]*0+$" "NoNewPrivs:[[:space:]]*1$" "Uid:[[:space:]]*65532[[:space:]]" "NSpid:.*[[:space:]]1$"; do
        grep -qE "^$line" <<<"$status" && good=yes || good=no
        verdict "$words: ${line%%:*}" "$good"
    done
    begun=$SECONDS code=0
    kill -TERM "$inner"
    wait "$outer" || code=$?
    [ "$code" = 0 ] && [ $((SECONDS - begun)) -le 10 ] && good=yes || good=no
    verdict "$words: SIGTERM ends process 1 with exit code 0 (it was $code, after $((SECONDS - begun)) s)" "$good"
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
