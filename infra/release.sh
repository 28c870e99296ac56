#!/usr/bin/env bash
# Builds a release of the checked-out commit: both programs, completions, manual pages, bills of materials, licence and
# changelog, as an archive with checksum, provenance and signatures. Writes to FOLDER, by default target/release-VERSION.
#   infra/release.sh [FOLDER]
# CARGO_CYCLONEDX is the path of cargo-cyclonedx. If it is not set, the script installs it under target (two minutes).
# SIGNING_KEY is the file of an SSH key that signs the archive and its provenance. Without it, nothing is signed.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "release.sh: $*" >&2
    exit 1
}
case ${1:-} in
    -h | --help)
        sed -n '2,6s/^# //p' "$0"
        exit 0
        ;;
esac
[ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed: a release is made of a commit"
version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
commit=$(git rev-parse --short=12 HEAD)
host=$(rustc -vV | sed -n 's/^host: //p')
grep -q "^## $version" CHANGELOG.md || fail "CHANGELOG.md has no section '## $version'"
folder=$(realpath -m "${1:-target/release-$version}")
name=goldfleet-$version-$host
[ ! -e "$folder/$name" ] || fail "$folder/$name is there already: name another folder, or remove it"

cargo build --profile dist --locked --bin goldfleet --bin goldfleet-worker
binaries=${CARGO_TARGET_DIR:-target}/dist
for program in goldfleet goldfleet-worker; do
    said=$("$binaries/$program" --version)
    [ "$said" = "$program $version ($commit)" ] || fail "'$program --version' says '$said', not $version ($commit)"
done

cyclonedx=${CARGO_CYCLONEDX:-target/release-tools/bin/cargo-cyclonedx}
[ -x "$cyclonedx" ] || cargo install cargo-cyclonedx@0.5.9 --locked --quiet --root target/release-tools

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name
mkdir -p "$root"/{completions,man,sbom}
install -t "$root" "$binaries/goldfleet" "$binaries/goldfleet-worker"
install -m 644 -t "$root" LICENSE CHANGELOG.md README.md
for shell in bash elvish fish powershell zsh; do
    "$binaries/goldfleet" completions "$shell" >"$root/completions/goldfleet.$shell"
done
"$binaries/goldfleet" man "$root/man" >/dev/null

# cargo-cyclonedx writes next to each manifest, so it runs on a copy of the sources.
mkdir "$work/sources"
git archive HEAD | tar --extract --directory "$work/sources"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) "$(realpath "$cyclonedx")" cyclonedx --quiet --format json \
    --spec-version 1.5 --describe binaries --manifest-path "$work/sources/Cargo.toml"
install -m 644 "$work/sources/dispatcher/goldfleet_bin.cdx.json" "$root/sbom/goldfleet.cdx.json"
install -m 644 "$work/sources/worker/goldfleet-worker_bin.cdx.json" "$root/sbom/goldfleet-worker.cdx.json"

# Reproducible: the same commit and files give the same archive.
(cd "$root" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$work/SHA256SUMS"
install -m 644 -t "$root" "$work/SHA256SUMS"
mkdir -p "$folder"
tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner \
    --mtime="@$(git log -1 --format=%ct)" "$name" | gzip --no-name >"$folder/$name.tar.gz"
cp -R "$root" "$folder/$name"
(cd "$folder" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")

# Provenance: what the archive was built from and with, as an in-toto statement (SLSA provenance 1).
sum() { sha256sum "$1" | cut -d ' ' -f 1; }
cat >"$folder/$name.provenance.json" <<EOF
{
  "_type": "https://in-toto.io/Statement/v1",
  "subject": [{ "name": "$name.tar.gz", "digest": { "sha256": "$(sum "$folder/$name.tar.gz")" } }],
  "predicateType": "https://slsa.dev/provenance/v1",
  "predicate": {
    "buildDefinition": {
      "buildType": "https://github.com/goldfleet/goldfleet/blob/main/docs/release.md",
      "externalParameters": { "version": "$version", "host": "$host" },
      "resolvedDependencies": [
        { "uri": "git+https://github.com/goldfleet/goldfleet", "digest": { "gitCommit": "$(git rev-parse HEAD)" } },
        { "uri": "Cargo.lock", "digest": { "sha256": "$(sum Cargo.lock)" } },
        { "uri": "https://static.rust-lang.org", "name": "$(rustc --version)" }
      ]
    },
    "runDetails": { "builder": { "id": "https://github.com/goldfleet/goldfleet/blob/main/infra/release.sh" } }
  }
}
EOF
if [ -n "${SIGNING_KEY:-}" ]; then
    for file in "$name.tar.gz" "$name.provenance.json"; do
        rm -f "$folder/$file.sig"
        ssh-keygen -Y sign -q -n goldfleet-release -f "$SIGNING_KEY" "$folder/$file"
    done
else
    echo "release.sh: SIGNING_KEY is not set, so the archive is not signed" >&2
fi
echo "$folder/$name.tar.gz"
