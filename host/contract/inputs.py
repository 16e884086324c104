"""Reading files that users hand in: none of them can end in a traceback, fill the memory, or block (D29).

Sizes are looked at before memory is taken, only regular files are read (a pipe without a writer would block for ever), names
that stand twice are refused, and numbers of arrays are converted to the device's byte order. What is wrong is a `UsageError`
that names the file; where only the caller knows what a text belongs to it is a `ValueError`.
"""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .wording import counted

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray

LARGEST_TEXT = 32 << 20
"""Bytes of a text that is read as a whole: 65,536 rows of 512 characters."""
LARGEST_MEMORY = 1 << 30
"""Bytes of the device's memory that are read or written in one go."""
ARRAY_HELP = "save one array of numbers with numpy.save"


def read_text(path: Path) -> str:
    """A file in UTF-8, without its byte order mark."""
    try:
        return read_bytes(path, LARGEST_TEXT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"{error.reason} at byte {error.start}"
        raise UsageError(f"cannot read {path}: not text in UTF-8 ({place})", "save it as UTF-8") from None


def read_bytes(path: Path, most: int) -> bytes:
    """A file of at most so many bytes."""
    with _open(path) as file:
        content = b"" if _size(file) > most else _guarded_read(path, file, most + 1)
        if len(content) > most or _size(file) > most:
            raise UsageError(f"{path} has more than the {most:,} bytes that are read at once", "split it")
        return content


def text_lines(path: Path, most: int = LARGEST_TEXT) -> Iterator[str]:
    """The lines of a file in UTF-8, without its byte order mark: any number of them, of at most so many characters each."""
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig") as file:
        while line := file.readline(most + 1):
            if len(line) > most:
                raise UsageError(f"{path} has a line of more than the {most:,} characters that are read at once", "split it")
            yield line


def strict_json(text: str) -> Any:
    """JSON in which no name stands twice in an object. ValueError for all else, however it is nested."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{twice(name for name, _ in pairs)[:40]!r} stands twice in one object")
    return found


def twice(names: Iterable[str]) -> str:
    """The first name that was there before."""
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]


# ---- arrays ----------------------------------------------------------------------------------------------------------


def read_array(path: Path, most: int) -> NDArray[Any]:
    """The numbers of a .npy file, at most so many bytes of them."""
    import numpy as np

    with _open(path) as file:
        shape, fortran, dtype = _array_header(path, file)
        _check_numbers(dtype, f"{path}")
        size = dtype.itemsize
        for length in shape:  # Python's integers: numpy's would wrap
            size *= length
        if size > most:
            raise UsageError(f"{path} has {counted(size, 'byte')}, more than the {most:,} that there is room for", ARRAY_HELP)
        content = _guarded_read(path, file, size)
    if len(content) != size:
        raise UsageError(f"{path} ends after {len(content):,} of {counted(size, 'byte')}", ARRAY_HELP)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _array_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        shape, fortran, dtype = readers[npy.read_magic(file)](file)
        if any(length < 0 for length in shape):
            raise ValueError(f"shape {shape}")
    except Exception as error:  # the header is parsed as Python, which fails in a dozen ways
        raise UsageError(f"cannot read {path}: no array in numpy's format ({_reason(error)})", ARRAY_HELP) from None
    return shape, fortran, dtype


def array_bytes(array: NDArray[Any], what: str) -> bytes:
    """Numbers as they lie in the device's memory: little endian, in C order, whatever they were here."""
    _check_numbers(array.dtype, what)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def block_bytes(array: NDArray[Any], what: str, size: int) -> bytes:
    """The content of one block: FP16 values, or their bit patterns as integers of 16 or 8 bits."""
    _check_numbers(array.dtype, what)
    if array.dtype.str[1:] not in ("f2", "u2", "i2", "u1", "i1"):
        raise UsageError(
            f"{what} holds {array.dtype}, a block FP16",
            "convert it with .astype(numpy.float16); bit patterns of another 16-bit format are uint16",
        )
    check_block_size(array.nbytes, what, size)
    return array_bytes(array, what)


def check_block_size(found: int, what: str, size: int) -> None:
    """UsageError unless it fills a block exactly."""
    if found != size:
        raise UsageError(
            f"{what} has {counted(found, 'byte')}, a block {size:,}",
            "for the full device: numpy.float16, shape (2, 32, 128), keys then values",
        )


def _check_numbers(dtype: np.dtype[Any], what: str) -> None:
    if dtype.kind not in "fiub":
        raise UsageError(f"{what} holds {str(dtype)[:40]}, not plain numbers", "use an array of floats or integers")


# ---- files -----------------------------------------------------------------------------------------------------------


def _open(path: Path) -> BinaryIO:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {_shown(path)}: {_reason(error)}", "name a file that is there and may be read") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UsageError(f"cannot read {path}: it is a folder, a pipe or a device", "name a file; save there what a pipe gives")
    return os.fdopen(handle, "rb")


def _guarded_read(path: Path, file: BinaryIO, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {_reason(error)}", "is the disk or the share that it is on in order?") from None


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _reason(error: Exception) -> str:
    lines = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()
    return lines[0][:120]


def _shown(path: Path) -> str:
    return ascii(str(path))[1:-1][:120]
