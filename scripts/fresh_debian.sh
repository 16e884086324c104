#!/bin/sh
# fresh_debian.sh SUITE [root|user] [GOAL]: `make GOAL` (demo) in a clean clone of HEAD, on a Debian with nothing but python3,
# g++, make and perl. What an ordinary user is told to have installed is done to the letter as root; then the user makes again.
#
# Needs root, git, debootstrap, and a few GB below $ROOTS (/var/tmp/kvfpga-roots), where the last run stays to be looked at.
# Packages come from where this machine gets them: debootstrap's mirror or $MIRROR, /etc/pip.conf, and the variables in `keep`.
set -eu
case ${1:-} in
    [a-z]*) ;;
    *) sed -n '2,6s/^# \?//p' "$0" >&2; exit 2 ;;
esac
[ -n "${INSIDE:-}" ] || INSIDE=1 exec unshare --mount --pid --fork --kill-child "$0" "$@"  # mounts and processes end with it

suite=$1
who=${2:-root}
goal=${3:-demo}
roots=${ROOTS:-/var/tmp/kvfpga-roots}
minimal=$roots/$suite
root=$roots/$suite-$who
certificates=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}
keep=PIP_INDEX_URL,PIP_CERT,PIP_PROXY,http_proxy,https_proxy,no_proxy

say() {
    echo "fresh_debian: $*"
}

# ---- a minimal Debian, and in a copy of it a user and the clone --------------------------------------------------------
if [ ! -d "$minimal" ]; then
    say "debootstrap of $suite"
    mkdir -p "$roots"
    debootstrap --variant=minbase --include=python3,g++,make,perl "$suite" "$minimal.new" ${MIRROR:+"$MIRROR"} >"$minimal.log"
    mv "$minimal.new" "$minimal"
fi
rm -rf "$root"
cp -a "$minimal" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
for file in /etc/resolv.conf /etc/pip.conf; do
    [ ! -e "$file" ] || cp "$file" "$root$file"
done
if [ -e "$certificates" ]; then  # under a name of its own: what make installs may bring Debian's
    export PIP_CERT=/etc/certificates-of-the-host.crt
    install -m 644 "$certificates" "$root$PIP_CERT"
fi
chroot "$root" useradd --create-home user
home=$(chroot "$root" sh -c "echo ~$who")
git clone --quiet --no-hardlinks "$(dirname "$0")/.." "$root$home/kvfpga"
chroot "$root" chown -R "$who:" "$home/kvfpga"

# ---- make, and make again after what it asks for -----------------------------------------------------------------------
seconds() {
    date +%s
}

attempt() {
    chroot "$root" su -l "$who" -w "$keep" -c "cd kvfpga && make $goal" </dev/null 2>"$root/tmp/errors" && code=0 || code=$?
    cat "$root/tmp/errors" >&2
    return $code
}

say "make $goal as $who in $suite"
start=$(seconds)
if ! attempt; then
    remedy=$(sed -n 's/^kvfpga: missing:.*, then make again: //p' "$root/tmp/errors")
    [ -n "$remedy" ] || exit 1
    say "as root: $remedy"
    chroot "$root" su -l root -w "$keep" -c "$remedy" </dev/null >"$root/tmp/remedy.log" 2>&1
    start=$(seconds)
    attempt
fi
say "make $goal as $who in $suite took $(($(seconds) - start)) s; .venv: $(du -sm "$root$home/kvfpga/.venv" | cut -f1) MB"
