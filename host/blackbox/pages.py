"""Files of which a generation writes only what changed (generation.py).

A folder holds `pages-N.bin`: pages of 4 KiB in the order in which they were written. A stored file is a list of runs over it,
(page, count), and None instead of a page stands for zeros, which take no room. A new generation appends the pages that differ
from the one before, at the same place of the same file, and names the others again. So what counts is never written to: the
list says which pages count, and whatever a crash left behind them is cut off by the next one that writes.

When more than half of the file is of no use any more, the next generation starts a new one.

Whoever makes or reads a stored file gets it as a file in memory, by its path.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.files import sync
from ..model.state import PAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Run = tuple[int | None, int]

SPARE = 256
"""Pages of no use that are not worth a new file."""
CHANGED, ZERO = -2, -1
"""Instead of the number of a page: not stored yet, and zeros."""
NO_PAGES = np.empty((0, PAGE // 8), np.uint64)


class Pages:
    """`state`: what `commit` gave for the generation that counts, None for none. Raises OSError and ValueError where the files
    are not those that it speaks of."""

    def __init__(self, home: Path, state: dict[str, Any] | None = None):
        self.home = home
        found = state or {"number": self._highest(), "pages": 0, "files": {}}
        self._number: int = found["number"]
        self._used: int = found["pages"]
        self._files: dict[str, Any] = found["files"]
        self._old = self._map()
        self._before = PAGE * self._used

    # ---- reading ---------------------------------------------------------------------------------------------------
    def copy(self, name: str, handle: int) -> None:
        """Write a stored file into an empty one."""
        at = 0
        for page, count in self._files[name]["runs"]:
            if page is not None:
                os.pwrite(handle, self._old[page : page + count].data, PAGE * at)
            at += count
        os.truncate(handle, self._files[name]["bytes"])  # the last page may be a part of one, or zeros

    def _map(self) -> NDArray[np.uint64]:
        """The pages that count, a row each."""
        if not self._used:
            return NO_PAGES
        with open(self._path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), PAGE * self._used, prot=mmap.PROT_READ)
        return np.frombuffer(mapped, np.uint64).reshape(self._used, PAGE // 8)

    @property
    def _path(self) -> Path:
        return self.home / f"pages-{self._number}.bin"

    def _highest(self) -> int:
        return max((int(path.stem.split("-")[1]) for path in self.home.glob("pages-*.bin")), default=0)

    # ---- writing ---------------------------------------------------------------------------------------------------
    def commit(self, makers: dict[str, Callable[[Path], None]]) -> dict[str, Any]:
        """Store the files that `makers` write, and have them on the disk; what a generation must remember to find them again."""
        live = sum(count for file in self._files.values() for page, count in file["runs"] if page is not None)
        if not self._used or self._used > 2 * live + SPARE:
            self._number, self._used, self._files = self._highest() + 1, 0, {}
        self._before = PAGE * self._used
        with open(self._path, "r+b" if self._before else "w+b", buffering=0) as out:
            out.truncate(self._before)
            out.seek(self._before)
            files = {name: self._store(name, make, out) for name, make in makers.items()}
            os.fsync(out.fileno())
        if not self._before:
            sync(self.home)
        return {"number": self._number, "pages": self._used, "files": files}

    def take_back(self) -> None:
        """Undo `commit`, also one that failed: what it wrote would only take up room."""
        if self._before:
            os.truncate(self._path, self._before)
        else:
            self._path.unlink(missing_ok=True)

    def _store(self, name: str, make: Callable[[Path], None], out: Any) -> dict[str, Any]:
        old = self._files.get(name, {"runs": []})["runs"]
        with in_memory(name) as (handle, path):
            make(path)
            size = os.fstat(handle).st_size
            count = -(-size // PAGE)
            os.truncate(handle, PAGE * count)
            new = np.frombuffer(mmap.mmap(handle, PAGE * count), np.uint64).reshape(count, PAGE // 8) if count else NO_PAGES
            places = self._places(new, old)
            self._append(new, places, out)
        return {"bytes": size, "runs": _runs(places)}

    def _places(self, new: NDArray[np.uint64], old: list[Run]) -> NDArray[np.int64]:
        """Where each page is already: its number, ZERO, or CHANGED."""
        places = np.full(len(new), CHANGED)
        at = 0
        for page, count in old:
            part = new[at : at + count]
            if page is not None:
                same = (part == self._old[page : page + len(part)]).all(axis=1)
                places[at : at + count][same] = np.arange(page, page + len(part))[same]
            at += count
        changed = np.flatnonzero(places == CHANGED)
        places[changed[~new[changed].any(axis=1)]] = ZERO
        return places

    def _append(self, new: NDArray[np.uint64], places: NDArray[np.int64], out: Any) -> None:
        changed = np.flatnonzero(places == CHANGED)
        if changed.size:
            data = new[changed].data.cast("B")
            while data:
                data = data[out.write(data) :]
            places[changed] = np.arange(self._used, self._used + changed.size)
            self._used += changed.size

    def sweep(self) -> None:
        """Remove the files of earlier generations."""
        for path in self.home.glob("pages-*.bin"):
            if path != self._path:
                path.unlink()


def _runs(places: NDArray[np.int64]) -> list[Run]:
    """Page numbers as runs of ascending ones; ZERO as None."""
    if not places.size:
        return []
    goes_on = np.where(places[:-1] == ZERO, places[1:] == ZERO, places[1:] == places[:-1] + 1)
    firsts = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    counts = np.diff(firsts, append=places.size)
    return [(None if page == ZERO else page, count) for page, count in zip(places[firsts].tolist(), counts.tolist())]


@contextmanager
def in_memory(name: str) -> Iterator[tuple[int, Path]]:
    """An empty file that is on no disk."""
    handle = os.memfd_create(name)
    try:
        yield handle, Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
