#!/bin/sh
# setup.sh VENV [test]: the virtual environment VENV with kvfpga in it, ready to run; with `test` also what the tests need.
# What the system lacks is installed where this is root on Debian; else it is named, all at once, with the command for it.
set -eu
venv=$1
extra=${2:-}

need() {  # need PACKAGE COMMAND: print PACKAGE if COMMAND fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || printf ' %s' "$package"
}

has_libpython() {
    python3 -c 'import os, sysconfig as s; os.stat(os.path.join(s.get_config_var("LIBDIR"), s.get_config_var("INSTSONAME")))'
}

has_zlib_headers() {
    echo '#include <zlib.h>' | ${CXX:-g++} -E -x c++ -
}

has_fuse() {  # Python looks for the library where ldconfig does, which is not on everybody's PATH
    command -v fusermount3 && python3 -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("fuse3"))'
}

missing() {  # Debian packages
    need python3-venv python3 -c 'import ensurepip, venv'
    need g++ command -v "${CXX:-g++}"
    [ "$extra" = test ] || return 0
    need fuse3 has_fuse                       # boards of files, /dev/kvcpu0
    need git command -v git                   # the wheel holds what is tracked
    need libpython3-dev has_libpython         # cocotb runs Python inside the simulation
    need make command -v make                 # cocotb's build
    need perl perl -MPod::Usage -e 1          # the `verilator` command, which cocotb starts
    need zlib1g-dev has_zlib_headers          # FST waveforms
    need zsh command -v zsh                   # its completion
}

packages=$(missing)
install="apt-get install -y --no-install-recommends"
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "kvfpga: installing$packages"
    apt-get update -qq
    DEBCONF_NOWARNINGS=yes DEBIAN_FRONTEND=noninteractive $install -qq $packages >/dev/null
    packages=$(missing)
fi
if [ -n "$packages" ]; then
    if ! command -v apt-get >/dev/null; then
        remedy="Install what other systems call these packages of Debian, then make again."
    elif command -v sudo >/dev/null; then
        remedy="Run this, then make again: sudo apt-get update && sudo $install$packages"
    else
        remedy="Run this as root, then make again: apt-get update && $install$packages"
    fi
    echo "kvfpga: missing:$packages. $remedy" >&2
    exit 1
fi

# The marks that make looks at. While they are away, a run that is cut off leaves a folder that nobody trusts.
ready=$venv/ready
ready_for_tests=$venv/ready-for-tests

echo "kvfpga: setting up $venv${extra:+ with what the tests need}"
[ -e "$ready" ] || python3 -m venv --clear "$venv"
rm -f "$ready" "$ready_for_tests"
# --use-pep517: old versions of pip warn of packages without a pyproject.toml otherwise. --no-compile: Python compiles what is used.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --use-pep517 --editable ".${extra:+[$extra]}"
touch "$ready"
[ "$extra" != test ] || touch "$ready_for_tests"
