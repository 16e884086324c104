"""The files that are the project's: those that git tracks; in an unpacked sdist, which is no repository, those that it has."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .places import ROOT

SOURCES = "kvfpga.egg-info/SOURCES.txt"
"""The list that setuptools puts into an sdist."""
MADE = ("kvfpga.egg-info/", "PKG-INFO", "setup.cfg")
"""What an sdist has beside what is tracked."""


def tracked() -> list[str]:
    """Paths from the root on, of files that are there."""
    if (ROOT / ".git").exists():
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
        listed = done.stdout.split("\0")
    else:
        listed = [path for path in (ROOT / SOURCES).read_text("utf-8").splitlines() if not path.startswith(MADE)]
    return [path for path in listed if path and Path(ROOT, path).is_file()]
