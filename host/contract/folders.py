"""Where the user's files are: the XDG base directories."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from .errors import UsageError


def cache() -> Path:
    return _folder("XDG_CACHE_HOME", ".cache")


def config() -> Path:
    return _folder("XDG_CONFIG_HOME", ".config")


def state() -> Path:
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, usual: str) -> Path:
    """The standard says that a path that is not absolute does not count."""
    named = os.environ.get(variable, "")
    if os.path.isabs(named):
        return Path(named) / "kvfpga"
    home, trouble = os.environ.get("HOME"), "HOME is not set, and nothing else names one"
    if home is not None and not os.path.isabs(home):
        trouble = f"HOME={home!r} is no absolute path"
    else:
        with suppress(RuntimeError):
            return Path.home() / usual / "kvfpga"
    raise UsageError(
        f"this user has no home folder: {trouble}", f"set HOME, or {variable}, to a folder with an absolute path"
    )
