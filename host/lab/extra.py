"""The libraries that `kvfpga lab` needs beyond the base install: the extra `kvfpga[lab]`."""

from __future__ import annotations

from ..contract import extras


def require(*libraries: str) -> None:
    """UsageError where one of them is not installed, without importing any."""
    extras.require("the policy lab", "lab", *libraries)
