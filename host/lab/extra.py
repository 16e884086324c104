"""The libraries that `kvfpga lab` needs beyond the base install: the extra `kvfpga[lab]`."""

from __future__ import annotations

from importlib.util import find_spec

from ..contract.errors import UsageError


def require(*libraries: str) -> None:
    """UsageError where one of them is not installed, without importing any."""
    if missing := [library for library in libraries if find_spec(library) is None]:
        raise UsageError(f"the policy lab needs {', '.join(missing)}", "pip install 'kvfpga[lab]'")
