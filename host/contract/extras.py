"""The extras of the package: libraries that only some commands need, and what to say where they are missing."""

from __future__ import annotations

from importlib.util import find_spec

from .errors import UsageError


def require(what: str, extra: str, *libraries: str) -> None:
    """UsageError where `what` (its subject, such as "kvfpga top") misses a library of `extra`. Imports none of them."""
    if missing := [library for library in libraries if find_spec(library) is None]:
        raise UsageError(f"{what} needs {', '.join(missing)}", f"pip install 'kvfpga[{extra}]'")
