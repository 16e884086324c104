"""How the kernels are compiled: by numba, once, into a cache beside them, or the user's where nothing can be written there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...contract.errors import UsageError

try:
    from numba import njit
except ImportError as error:
    raise UsageError(f"the compiled device needs numba: {error}", "pip install 'kvfpga[lab]'") from None

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(kernel: Kernel) -> Kernel:
    """The same function, compiled when it is first called with arguments of these types."""
    found: Kernel = njit(cache=True)(kernel)
    return found
