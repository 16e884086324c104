"""Libraries beyond the base install: the extras of pyproject.toml."""

from __future__ import annotations

from importlib.util import find_spec

from .errors import UsageError


def require(what: str, extra: str, *libraries: str) -> None:
    """UsageError where one of them is not installed, without importing any: `what` needs them, `extra` brings them."""
    if missing := [library for library in libraries if find_spec(library) is None]:
        raise UsageError(f"{what} needs {', '.join(missing)}", f"pip install 'kvfpga[{extra}]'")
