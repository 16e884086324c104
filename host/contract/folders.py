"""Where the user's files are: the XDG base directories."""

from __future__ import annotations

import os
from pathlib import Path


def cache() -> Path:
    return _folder("XDG_CACHE_HOME", ".cache")


def config() -> Path:
    return _folder("XDG_CONFIG_HOME", ".config")


def state() -> Path:
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, usual: str) -> Path:
    """The standard says that a path that is not absolute does not count."""
    named = os.environ.get(variable, "")
    return (Path(named) if os.path.isabs(named) else Path.home() / usual) / "kvfpga"
