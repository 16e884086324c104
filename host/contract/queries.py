"""Queries for the compute engine (contract R30): vectors of HEAD_DIM FP16 values, as users hand them in, and as bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from . import inputs
from .commands import QUERY_SLOTS
from .errors import UsageError
from .wording import counted, short

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_FILE = 1 << 20
"""Bytes of a file with a query. A right one has 512 at most, but one of another type deserves to be told what is wrong."""


def read(path: Path, head_dim: int) -> NDArray[np.uint16]:
    """uint16[1, head_dim]: the bits of the query in a .npy file, float16[head_dim]."""
    return _checked(inputs.read_array(path, LARGEST_FILE), str(path), head_dim, dimensions=(1,))


def bits(queries: object, head_dim: int) -> NDArray[np.uint16]:
    """uint16[n, head_dim] of what a caller hands in: float16[head_dim], or float16[n, head_dim]."""
    import numpy as np

    if isinstance(queries, (str, bytes)):
        raise UsageError(f"{short(repr(queries))} is no query", "give an array of numpy.float16")
    try:
        array = np.asarray(queries)
    except (ValueError, TypeError) as error:
        raise UsageError(f"the query is no array: {error}", "give an array of numpy.float16") from None
    return _checked(array, "the query", head_dim, dimensions=(1, 2))


def check_slots(slot: int, count: int) -> None:
    """UsageError unless the query buffer has `count` slots from `slot` on."""
    if not 0 <= slot < QUERY_SLOTS:
        raise UsageError(f"there is no query slot {slot}: the buffer has {QUERY_SLOTS} (R30)", f"give 0 to {QUERY_SLOTS - 1}")
    if slot + count > QUERY_SLOTS:
        raise UsageError(
            f"{counted(count, 'query', 'queries')} from slot {slot} on end behind the buffer's {QUERY_SLOTS} slots",
            f"begin at slot {QUERY_SLOTS - count} or before" if count <= QUERY_SLOTS else f"write {QUERY_SLOTS} at once at most",
        )


class Model(Protocol):
    """What a reference model says of its compute engine."""

    nmce: bool
    head_dim: int


def size(model: Model) -> int:
    """Values of a query, HEAD_DIM. UsageError on a device without the compute engine (R36)."""
    if not model.nmce:
        raise UsageError(
            "this device was built without the compute engine (NMCE), so it has no query buffer",
            "use a build with NMCE; `kvfpga info` says what a device has",
        )
    return model.head_dim


def _checked(array: NDArray[Any], what: str, head_dim: int, dimensions: tuple[int, ...]) -> NDArray[np.uint16]:
    import numpy as np

    if array.dtype.str[1:] != "f2":
        raise UsageError(f"{what} holds {array.dtype}, a query float16", "convert it with .astype(numpy.float16)")
    if array.ndim not in dimensions or array.shape[-1] != head_dim or not array.size:
        raise UsageError(
            f"{what} has the shape {array.shape}; a query of this device has {head_dim} values",
            f"save an array of the shape ({head_dim},)",
        )
    return np.ascontiguousarray(array, "<f2").view(np.uint16).reshape(-1, head_dim)
