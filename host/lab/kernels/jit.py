"""How the kernels are compiled: by numba, once, into a cache beside them, or the user's where nothing can be written there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..extra import require

require("numba")

from numba import njit  # noqa: E402  # where it is not installed, the line above says what to do

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(kernel: Kernel) -> Kernel:
    """The same function, compiled when it is first called with arguments of these types."""
    return cast("Kernel", njit(cache=True)(kernel))
