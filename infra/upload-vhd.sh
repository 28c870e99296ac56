#!/usr/bin/env bash
# For image builds: checks a VHD, uploads it, waits until every target has its image, and prints the status table.
set -euo pipefail

usage() {
    cat <<'EOF'
Usage: upload-vhd.sh --image NAME --version VERSION --os linux|windows [--generation v1|v2] [--config FILE] FILE

Checks FILE, uploads it as VERSION of the image NAME, waits until it is an image at every target, and prints the status
table on standard output.

  --image NAME         the image, such as ubuntu-24.04
  --version VERSION    its version, such as 2026.11.1
  --os OS              linux or windows
  --generation V       v1 or v2; deduced from the partition table, where not given
  --config FILE        goldfleet's configuration; goldfleet.toml in the working directory, where not given
  -h, --help           this

The program goldfleet is what $GOLDFLEET names, else the one on the PATH.

Exit codes, those of goldfleet: 0 all done; 1 some operation failed; 2 bad usage, configuration or input; 3 a service
refused or could not be reached; 130 interrupted.
EOF
}

bad_usage() {
    printf 'upload-vhd.sh: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

file="" image="" version="" os=""
generation=() config=()
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help)
            usage
            exit 0
            ;;
        --image=* | --version=* | --os=* | --generation=* | --config=*)
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
            continue
            ;;
        --image | --version | --os | --generation | --config)
            [ $# -ge 2 ] && [ -n "$2" ] || bad_usage "$1 needs a value"
            case "$1" in
                --image) image=$2 ;;
                --version) version=$2 ;;
                --os) os=$2 ;;
                --generation) generation=(--generation "$2") ;;
                --config) config=(--config "$2") ;;
            esac
            shift 2
            ;;
        -*) bad_usage "there is no option $1" ;;
        *)
            [ -z "$file" ] || bad_usage "there is one file at a time, not '$file' and '$1'"
            [ -n "$1" ] || bad_usage "the file's name is empty"
            file=$1
            shift
            ;;
    esac
done
[ -n "$file" ] || bad_usage "which file?"
[ -n "$image" ] || bad_usage "--image is missing"
[ -n "$version" ] || bad_usage "--version is missing"
case "$os" in
    linux | windows) ;;
    "") bad_usage "--os is missing" ;;
    *) bad_usage "--os is linux or windows, not '$os'" ;;
esac

goldfleet=${GOLDFLEET:-goldfleet}
if ! command -v -- "$goldfleet" >/dev/null; then
    if [ -n "${GOLDFLEET:-}" ]; then
        printf 'upload-vhd.sh: GOLDFLEET names %s, which is no program\n' "$GOLDFLEET" >&2
    else
        printf 'upload-vhd.sh: there is no goldfleet on the PATH: install it, or name it in the variable GOLDFLEET\n' >&2
    fi
    exit 2
fi

# Old versions of bash (macOS) treat an empty array as unset, hence the ${array[@]+…}.
"$goldfleet" ${config[@]+"${config[@]}"} check "$file" ${generation[@]+"${generation[@]}"} || exit
# exec, so that signals reach goldfleet and the caller gets its exit code.
exec "$goldfleet" ${config[@]+"${config[@]}"} upload "$file" --image "$image" --version "$version" --os "$os" \
    ${generation[@]+"${generation[@]}"} --wait
