# shellcheck shell=bash
# For scripts that source this: lays out what distroless/cc has, that is glibc, libgcc, root certificates and a user.
distroless() { # distroless FOLDER
    local root=$1 library
    mkdir -p "$root"/{etc/ssl/certs,home/nonroot,proc,tmp,usr/local/bin}
    {
        ldconfig -p | sed -nE 's#^\s*lib(c|m|gcc_s|dl|pthread|rt)\.so\.[0-9]+ .* => ##p'
        ldd /bin/sh | grep -o '/[^ ]*/ld-linux[^ ]*' # where programs look for their loader
    } | while read -r library; do
        install -D "$(realpath "$library")" "$root$library"
    done
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$root/etc/passwd"
}
