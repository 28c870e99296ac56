#!/usr/bin/env bash
# For image builds: checks a VHD, uploads it, waits until every target has its image, and prints the status table.
set -euo pipefail

usage() {
    cat <<'EOF'
Usage: upload-vhd.sh --image NAME --version VERSION --os linux|windows [OPTION]... FILE

Checks FILE, uploads it as VERSION of the image NAME, waits until it is an image at every target, and prints the status
table on standard output.

  --image NAME         the image, such as ubuntu-24.04
  --version VERSION    its version, such as 2026.11.1
  --os OS              linux or windows
  --generation V       v1 or v2 [default: deduced from the partition table]
  --limit RATE         send at most this much per second, such as 200MiB/s
  --target SELECTOR    only targets that match, such as 'west*'; can be given several times
  --ring NUMBER        only targets of this ring; can be given several times
  --note TEXT          a remark that is shown with the job, such as a ticket number
  --approve            let every ring after the first wait for 'goldfleet approve'
  --config FILE        the configuration [default: goldfleet.toml in this directory or a parent directory]
  -h, --help           print this help

The program is the one that $GOLDFLEET names, or else goldfleet on the PATH.

Exit codes are those of goldfleet: 0 success; 1 an operation failed; 2 invalid usage, configuration or input; 3 a service
refused a request or could not be reached; 130 interrupted.
EOF
}

bad_usage() {
    printf 'upload-vhd.sh: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

file="" image="" version="" os=""
generation=() config=() more=()
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help)
            usage
            exit 0
            ;;
        --image=* | --version=* | --os=* | --generation=* | --config=* | --limit=* | --target=* | --ring=* | --note=*)
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
            continue
            ;;
        --approve)
            more+=(--approve)
            shift
            ;;
        --image | --version | --os | --generation | --config | --limit | --target | --ring | --note)
            [ $# -ge 2 ] && [ -n "$2" ] || bad_usage "$1 needs a value"
            case "$1" in
                --image) image=$2 ;;
                --version) version=$2 ;;
                --os) os=$2 ;;
                --generation) generation=(--generation "$2") ;;
                --config) config=(--config "$2") ;;
                *) more+=("$1" "$2") ;;
            esac
            shift 2
            ;;
        -*) bad_usage "unknown option $1" ;;
        *)
            [ -z "$file" ] || bad_usage "expected one file, got '$file' and '$1'"
            [ -n "$1" ] || bad_usage "the file name is empty"
            file=$1
            shift
            ;;
    esac
done
[ -n "$file" ] || bad_usage "no file given"
[ -n "$image" ] || bad_usage "--image is missing"
[ -n "$version" ] || bad_usage "--version is missing"
case "$os" in
    linux | windows) ;;
    "") bad_usage "--os is missing" ;;
    *) bad_usage "--os must be linux or windows, not '$os'" ;;
esac

goldfleet=${GOLDFLEET:-goldfleet}
if ! command -v -- "$goldfleet" >/dev/null; then
    if [ -n "${GOLDFLEET:-}" ]; then
        printf 'upload-vhd.sh: GOLDFLEET names %s, which is not a program\n' "$GOLDFLEET" >&2
    else
        printf 'upload-vhd.sh: goldfleet is not on the PATH: install it, or name it in the variable GOLDFLEET\n' >&2
    fi
    exit 2
fi

# Old versions of bash (macOS) treat an empty array as unset, hence the ${array[@]+…}.
"$goldfleet" ${config[@]+"${config[@]}"} check "$file" --image "$image" ${generation[@]+"${generation[@]}"} || exit
# exec, so that signals reach goldfleet and the caller gets its exit code.
exec "$goldfleet" ${config[@]+"${config[@]}"} upload "$file" --image "$image" --version "$version" --os "$os" \
    ${generation[@]+"${generation[@]}"} ${more[@]+"${more[@]}"} --wait
