
# Bash splits words at '=' and ':', which selectors and ids contain. The program gets whole words, and bash the part of each candidate
# behind the split.
_goldfleet() {
    local line=${COMP_LINE:0:COMP_POINT} whole=() part i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if ((i == 0)) || [[ $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            whole+=("")
        fi
        ((i < COMP_CWORD)) || part=$line
        whole[${#whole[@]} - 1]+=$part
        line=${line#"$part"}
    done
    local COMP_WORDS=("${whole[@]}") COMP_CWORD=$((${#whole[@]} - 1))
    local word=${COMP_WORDS[COMP_CWORD]} quote="" split=""
    case $word in
        [\'\"]*)
            quote=${word:0:1} word=${word:1} ;;
        *)
            word=${word//\\/} split=${word%"${word##*[=:]}"} ;;
    esac
    COMP_WORDS[COMP_CWORD]=$word
    _clap_complete_goldfleet "$1" "$word"
    for i in "${!COMPREPLY[@]}"; do
        part=${COMPREPLY[i]#"$split"}
        # A comma needs no escape.
        [[ $quote ]] || { printf -v part %q "$part" && part=${part//\\,/,}; }
        COMPREPLY[i]=$part
    done
}
complete -o nospace -o bashdefault -o nosort -F _goldfleet goldfleet 2> /dev/null ||
    complete -o nospace -o bashdefault -F _goldfleet goldfleet
