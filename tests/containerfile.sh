#!/usr/bin/env bash
# Builds the container file as it is, where no registry with its base images can be reached: buildah runs its steps in
# this machine's own compiler and libraries, laid out as the base images would be. Then looks at what the image says of
# itself, and runs tests/container.sh with the programs out of it.
# To be quick, the stand-in's cargo only reads the manifests, and hands out the programs that lie in BINARIES, target/debug
# by default. COMPILE=1 has it compile in earnest, without optimisation. Needs root; installs buildah where it is missing.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=BINARIES,COMPILE,PATH bash "$0"
cd "$(dirname "$0")/.."
# shellcheck source=tests/distroless.sh
. tests/distroless.sh

if ! command -v buildah >/dev/null; then
    echo "installing buildah"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends buildah >/dev/null
fi
folder=$(mktemp -d)
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs TMPDIR=$folder
with=(--root "$folder/storage" --runroot "$folder/run")
trap 'buildah "${with[@]}" umount --all >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT

file=infra/container/Containerfile
default() { sed -n "s/^ARG $1=//p" "$file" | head -1; }
rust=docker.io/library/rust:$(default RUST)-slim-bookworm
bare=gcr.io/distroless/cc-debian$(default DEBIAN):nonroot

stand_in() { # stand_in NAME FOLDER CONFIG…
    local container name=$1 root=$2
    shift 2
    container=$(buildah "${with[@]}" from scratch)
    buildah "${with[@]}" copy --quiet "$container" "$root" / >/dev/null
    [ $# = 0 ] || buildah "${with[@]}" config "$@" "$container"
    buildah "${with[@]}" commit --quiet --rm "$container" "$name" >/dev/null
}
distroless "$folder/bare"
stand_in "$bare" "$folder/bare" --user 65532 --env PATH=/usr/local/bin
# Everything in it is this machine's, mounted while a step runs.
mounts=(/etc/alternatives /etc/ssl /usr/bin /usr/include /usr/lib /usr/libexec /usr/share)
mkdir -p "$folder/rust"/{etc,tmp,proc,usr/local/{cargo,rust}}
ln -s usr/bin usr/lib "$folder/rust"
[ ! -d /usr/lib64 ] || ln -s usr/lib64 "$folder/rust" && mounts+=(/usr/lib64)
volumes=(--volume "$(rustc --print sysroot):/usr/local/rust:ro")
for mount in "${mounts[@]}"; do
    mkdir -p "$folder/rust$mount"
    volumes+=(--volume "$mount:$mount:ro")
done
commit=$(git rev-parse --short=12 HEAD)
if [ -z "${COMPILE:-}" ]; then
    binaries=$(realpath "${BINARIES:-target/debug}")
    volumes+=(--volume "$binaries:/built:ro")
    commit=$("$binaries/goldfleet" --version | sed 's/.*(\(.*\))/\1/')
    mkdir -p "$folder/rust/built" "$folder/rust/usr/local/quick"
    cat >"$folder/rust/usr/local/quick/cargo" <<END
#!/bin/sh
set -eu
[ "\$GOLDFLEET_COMMIT \$*" = "$commit build --profile dist --locked --bin goldfleet --bin goldfleet-worker" ]
/usr/local/rust/bin/cargo metadata --quiet --offline --no-deps --format-version 1 >/dev/null
mkdir -p target/dist
cp /built/goldfleet /built/goldfleet-worker target/dist
END
    chmod +x "$folder/rust/usr/local/quick/cargo"
fi
stand_in "$rust" "$folder/rust" --env PATH=/usr/local/quick:/usr/local/rust/bin:/usr/bin \
    --env CARGO_HOME=/usr/local/cargo --env CARGO_PROFILE_DIST_OPT_LEVEL=0 --env CARGO_PROFILE_DIST_LTO=off \
    --env CARGO_PROFILE_DIST_CODEGEN_UNITS=16

buildah "${with[@]}" build --pull-never --format docker --file "$file" --tag goldfleet:test "${volumes[@]}" \
    --build-arg COMMIT="$commit" --build-arg VERSION=9.9.9 .

passed=0 failed=0
holds() { # holds NAME WANTED FOUND
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s is %s, not %s\n' "$1" "$3" "$2"
    fi
}
said() { buildah "${with[@]}" inspect --type image --format "{{$1}}" goldfleet:test; }
holds user 65532:65532 "$(said .Docker.Config.User)"
holds command "[/usr/local/bin/goldfleet-worker]" "$(said .Docker.Config.Cmd)"
holds "stop signal" SIGTERM "$(said .Docker.Config.StopSignal)"
holds "health check" "[CMD /usr/local/bin/goldfleet-worker health]" "$(said .Docker.Config.Healthcheck.Test)"
holds port "map[8080/tcp:{}]" "$(said .Docker.Config.ExposedPorts)"
holds "version label" 9.9.9 "$(said 'index .Docker.Config.Labels "org.opencontainers.image.version"')"
holds "commit label" "$commit" "$(said 'index .Docker.Config.Labels "org.opencontainers.image.revision"')"

container=$(buildah "${with[@]}" from --pull-never goldfleet:test)
image=$(buildah "${with[@]}" mount "$container")
files() { (cd "$1" && find . -type f | sort); }
more=$(comm -13 <(files "$folder/bare") <(files "$image") | tr '\n' ' ')
holds "what it has besides its base" "./usr/local/bin/goldfleet ./usr/local/bin/goldfleet-worker " "$more"
holds "what its base has and it has not" "" "$(comm -23 <(files "$folder/bare") <(files "$image"))"
holds version "$commit" "$("$image/usr/local/bin/goldfleet" --version | sed 's/.*(\(.*\))/\1/')"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
BINARIES=$image/usr/local/bin bash tests/container.sh
