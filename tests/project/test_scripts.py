"""What starts with a shebang can be run, and nothing else can."""

from __future__ import annotations

import subprocess


def test_a_shebang_goes_with_the_run_bit(pytestconfig):
    root = pytestconfig.rootpath
    listed = subprocess.run(["git", "ls-files", "-s", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    modes = {path: entry.split()[0] for entry, _, path in (line.partition("\t") for line in listed.split("\0") if line)}
    modes = {path: mode for path, mode in modes.items() if mode in ("100644", "100755") and (root / path).is_file()}
    assert "scripts/setup.sh" in modes
    for path, mode in modes.items():
        with open(root / path, "rb") as file:
            assert (mode == "100755") == (file.read(2) == b"#!"), f"{path}: mode {mode}; git update-index --chmod puts it right"
