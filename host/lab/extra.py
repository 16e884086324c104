"""The libraries that `kvfpga lab` needs beyond the base install: the extra `kvfpga[lab]`.

Two of them keep files: numba what it compiled, beside the kernels or in the user's cache, and libcachesim makes a folder for
traces that nobody here asks it for. Where a user has no folder that can be written, they end in an error of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..contract import extras
from ..contract.errors import UsageError

KERNELS = Path(__file__).parent / "kernels" / "__pycache__"


def require(*libraries: str) -> None:
    """UsageError where one of them is not installed, or has no place for its files, without importing any."""
    extras.require("the policy lab", "lab", *libraries)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    if "numba" in libraries:
        _require_place("numba", "NUMBA_CACHE_DIR", str(KERNELS), f"{cache}/numba")
    if "libcachesim" in libraries:
        _require_place("libcachesim", "LCS_HUB_CACHE", "~/.cache/libcachesim")


def _require_place(library: str, variable: str, *usual: str) -> None:
    """UsageError where the library can write into none of the usual places, or not into the one that the variable names."""
    named = os.environ.get(variable)
    places = [os.path.expanduser(place) for place in ([named] if named else usual)]
    if not any(_can_be_written(Path(place)) for place in places):
        raise UsageError(
            f"{library} keeps files in {places[-1]}, which cannot be written", f"set {variable} to a folder of yours that can be"
        )


def _can_be_written(folder: Path) -> bool:
    """Whether it is there, or can be made."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    is_home = str(folder).startswith("~")  # of a user who has none
    return not is_home and os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)
