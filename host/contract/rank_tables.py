"""The table of the ranked policy (contract R43 to R45): where its codes come from, and how it is put in force.

A table is uint8[classes, 64], a code for each class and age bucket. The device decides by one bank of it, and shows the other one
in the window of PTABLE; PTABLE_COMMIT swaps them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import inputs
from .commands import Set
from .errors import UsageError
from .parameters import BUCKETS
from .settings import RANKED
from .wording import short

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AGE = "age"
"""The table by that name: for every class alike, the older the lower (R49)."""
LARGEST_FILE = 1 << 20
"""Bytes of a file with a table. A right one has at most 16,384, but one of floats deserves to be told what is wrong with it."""


def by_age(classes: int) -> NDArray[np.uint8]:
    import numpy as np

    found = np.empty((classes, BUCKETS), np.uint8)
    found[:] = 255 - 4 * np.arange(BUCKETS)
    return found


def zero(classes: int) -> NDArray[np.uint8]:
    """As after a reset."""
    import numpy as np

    return np.zeros((classes, BUCKETS), np.uint8)


def read(path: Path, classes: int) -> NDArray[np.uint8]:
    """The table in a .npy file."""
    return _checked(inputs.read_array(path, LARGEST_FILE), str(path), classes)


def codes(table: object, classes: int) -> NDArray[np.uint8]:
    """What a caller hands in: an array, or AGE."""
    import numpy as np

    if isinstance(table, str) and table == AGE:
        return by_age(classes)
    if isinstance(table, (str, bytes)):
        raise UsageError(f"{short(repr(table))} is no table", f'give an array of numpy.uint8, or "{AGE}"')
    try:
        array = np.asarray(table)
    except (ValueError, TypeError) as error:
        raise UsageError(f"the table is no array: {error}", "give an array of numpy.uint8") from None
    return _checked(array, "the table", classes)


def _checked(array: NDArray[Any], what: str, classes: int) -> NDArray[np.uint8]:
    import numpy as np

    if array.dtype != np.uint8:
        raise UsageError(f"{what} holds {array.dtype}, a table uint8", "convert it with .astype(numpy.uint8), codes 0 to 255")
    if array.shape != (classes, BUCKETS):
        raise UsageError(
            f"{what} has the shape {array.shape}; this device has {classes} classes and {BUCKETS} age buckets",
            f"save an array of the shape ({classes}, {BUCKETS})",
        )
    return np.ascontiguousarray(array)


def before(fill_age: int | None) -> list[Set]:
    """The commands before a new table is written: those that the device may refuse, so that a refusal changes nothing."""
    return [] if fill_age is None else [Set("FILL_AGE", fill_age)]


def behind(written: bool) -> list[Set]:
    """The commands behind it that put the ranked policy in force, with the new table where one was `written`."""
    return [*([Set("PTABLE_COMMIT", 1)] if written else []), Set("POLICY", RANKED)]
