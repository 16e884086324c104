#!/bin/sh
# Make a virtual environment in the folder $1 with kvfpga and its test tools in it. Installs missing Debian packages where it may.
set -eu
venv=$1

missing=""
python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
command -v g++ >/dev/null || missing="$missing g++"
command -v perl >/dev/null || missing="$missing perl"
echo '#include <zlib.h>' | ${CXX:-g++} -E -x c++ - >/dev/null 2>&1 || missing="$missing zlib1g-dev"  # FST waveforms
python3 -c 'import sysconfig, os; os.stat(os.path.join(sysconfig.get_paths()["include"], "Python.h"))' 2>/dev/null \
    || missing="$missing python3-dev"  # cocotb
ldconfig -p 2>/dev/null | grep -q 'libfuse3\?\.so' && command -v fusermount3 >/dev/null || missing="$missing fuse3"  # virtual XDMA boards
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
    else
        echo "kvfpga: please install first:$missing  (for example: sudo apt-get install$missing)" >&2
        exit 1
    fi
fi

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[test]'
