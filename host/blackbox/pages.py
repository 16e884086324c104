"""Files of which a generation writes only what changed (generation.py).

A folder holds `pages-N.bin`: pages of 4 KiB in the order in which they were written. A stored file is a list of runs over it,
(page, count), and None instead of a page stands for zeros, which take no room. A new generation appends the pages that differ
from the one before, at the same place of the same file, and names the others again. So what counts is never written to: the
list says which pages count, and whatever a crash left behind them is cut off by the next one that writes.

When more than half of the file is of no use any more, the next generation starts a new one.

Each page that counts has a sum, which is compared when it is read; what does not count has one together with the rest (`total`).
Behind its pages a generation that counts leaves its description, the text that `current` has, on pages of its own: where
`current` is lost or a page is damaged, `descriptions` finds what was stored before. It is written last, and nothing waits for it
to be on the disk: of a killed command, and after a power failure, pages of it may be missing, or zeros from somewhere on.

Whoever makes or reads a stored file gets it as a file in memory, by its path.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.files import sync
from ..contract.inputs import LARGEST_TEXT
from ..model.state import PAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Run = tuple[int | None, int]

Place = tuple[int, int]
"""Of a description: the number of its file, and its first page. What was stored later has a higher one."""
SPARE = 256
"""Pages of no use that are not worth a new file."""
CHANGED, ZERO = -2, -1
"""Instead of the number of a page: not stored yet, and zeros."""
NO_PAGES = np.empty((0, PAGE // 8), np.uint64)
WEIGHTS = np.cumprod(np.full(PAGE // 4, 0x9E3779B97F4A7C15, np.uint64))
"""Of a page's words of 32 bits in its sum of 64. All are odd, and no two add up to nothing, or are the same, modulo 2^33: so one
or two flipped bits, and any change within a word, always change the sum; others do but once in 2^32, and most once in 2^64."""
DESCRIPTION = b"kvfpga generation\n"
"""What a page with the beginning of a description begins with."""


class Pages:
    """`state`: what `commit` gave for the generation that counts, None for none. Raises OSError and ValueError where the files
    are not those that it speaks of."""

    def __init__(self, home: Path, state: dict[str, Any] | None = None):
        self.home = home
        found = state or {"number": highest(home, "pages"), "pages": 0, "described": 0, "files": {}, "total": None}
        self._number: int = found["number"]
        self._used: int = found["pages"]
        self._files: dict[str, Any] = found["files"]
        self._described: int = found["described"]
        self._total: int | None = found["total"]
        self._old = self._map()
        self._sums = np.zeros(self._used, np.uint64)
        self._sums[: len(self._old)] = sums_of(self._old)
        self._before: int | None = None

    # ---- reading ---------------------------------------------------------------------------------------------------
    def copy(self, name: str, handle: int) -> None:
        """Write a stored file into an empty one. ValueError where it is not what was stored."""
        at = 0
        for page, pages in self._read(name):
            if page is not None:
                _write_at(handle, pages.data.cast("B"), PAGE * at)
            at += len(pages)
        os.truncate(handle, self._files[name]["bytes"])  # the last page may be a part of one, or zeros

    def check(self) -> None:
        """ValueError where any stored file is not what was stored."""
        for name in self._files:
            for _ in self._read(name):
                pass

    def check_rest(self, description: str) -> None:
        """ValueError where something is not as it was written that does not count. A disk that changes that will change more."""
        if self._total is None:  # recovered: known to be damaged where it does not matter
            return
        if total_of(self._sums[: self._described]) != self._total:
            raise ValueError(f"{self._path.name} is not what was stored there, in pages that do not count any more")
        size = self._path.stat().st_size
        found, meant = self._old[self._described :].tobytes(), _padded(description)
        pages = [slice(at, at + PAGE) for at in range(0, len(found), PAGE)]
        begun = all(meant[page].startswith(found[page].rstrip(b"\0")) for page in pages)
        if not begun or size < PAGE * self._used and size % PAGE:
            raise ValueError(f"{self._path.name}: its description is not what was stored there")

    def _read(self, name: str) -> Iterator[tuple[int | None, NDArray[np.uint64]]]:
        """The runs of a stored file: where each begins in the file of pages, and its pages."""
        file = self._files[name]
        sums, done = np.frombuffer(bytes.fromhex(file["sums"]), "<u8"), 0
        for page, count in file["runs"]:
            if page is None:
                yield None, np.broadcast_to(np.uint64(0), (count, PAGE // 8))
                continue
            pages = self._old[page : page + count]
            wrong = np.flatnonzero(self._sums[page : page + count] != sums[done : done + count])
            if wrong.size:
                raise ValueError(f"page {page + wrong[0]} of {self._path.name} is not what was stored there")
            yield page, pages
            done += count

    def _map(self) -> NDArray[np.uint64]:
        """The pages that count, a row each, and behind them those of the description that are there."""
        if not self._used:
            return NO_PAGES
        with opened(self._path) as handle:
            there = min(os.fstat(handle).st_size // PAGE, self._used)
            mapped = mmap.mmap(handle, PAGE * max(there, self._described), prot=mmap.PROT_READ)
        return np.frombuffer(mapped, np.uint64).reshape(-1, PAGE // 8)

    @property
    def _path(self) -> Path:
        return self.home / f"pages-{self._number}.bin"

    # ---- writing ---------------------------------------------------------------------------------------------------
    def commit(self, makers: dict[str, Callable[[Path], None]]) -> dict[str, Any]:
        """Store the files that `makers` write, and have them on the disk; what a generation must remember to find them again."""
        live = sum(count for file in self._files.values() for page, count in file["runs"] if page is not None)
        if not self._used or self._used > 2 * live + SPARE:
            self._number, self._used, self._files = highest(self.home, "pages") + 1, 0, {}
            self._sums, self._total = self._sums[:0], 0
        self._before = PAGE * self._used
        with open(self._path, "r+b" if self._before else "w+b", buffering=0) as out:
            out.truncate(min(self._before, PAGE * len(self._old)))  # without a part of a page
            out.truncate(self._before)
            out.seek(self._before)
            files = {name: self._store(name, make, out) for name, make in makers.items()}
            os.fsync(out.fileno())
        if not self._before:
            sync(self.home)
        total = None if self._total is None else total_of(self._sums)
        return {"number": self._number, "pages": self._used, "described": self._used, "files": files, "total": total}

    def description(self, text_of: Callable[[int], str]) -> str:
        """That of what was committed; `text_of(pages)` is it where so many pages count, it included. Its pages are kept free."""
        size, needed = 0, 1
        while size != needed:
            size = needed
            text = text_of(self._used + size)
            needed = len(_padded(text)) // PAGE
        self._used += size
        return text

    def describe(self, description: str) -> None:
        """Write it: what was committed counts now. Where the disk has no room for it, it is left out."""
        data = _padded(description)
        begin = PAGE * self._used - len(data)
        with suppress(OSError), open(self._path, "r+b", buffering=0) as out:
            try:
                out.truncate(PAGE * self._used)  # never a part of a page, wherever it is cut off
                out.seek(begin)
                _write(out, data)
            except OSError:
                out.truncate(begin)

    def take_back(self) -> None:
        """Undo `commit`, also one that failed: what it wrote would only take up room."""
        if self._before:
            cut(self._path, self._before)
        elif self._before is not None:
            remove(self._path)

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
        sums = sums_of(new)[places != ZERO].astype("<u8")
        return {"bytes": size, "runs": _runs(places), "sums": sums.tobytes().hex()}

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
            _write(out, new[changed].data.cast("B"))
            self._sums = np.concatenate([self._sums, sums_of(new[changed])])
            places[changed] = np.arange(self._used, self._used + changed.size)
            self._used += changed.size

    def sweep(self) -> None:
        """Remove the files of earlier generations, and what lies behind this one."""
        for path in self.home.glob("pages-*"):
            if path != self._path:
                remove(path)
        if self._used:
            cut(self._path, PAGE * self._used)


def descriptions(home: Path) -> Iterator[tuple[Place, str]]:
    """What generations in the folder said of themselves and where, the newest first; none is checked yet."""
    for path in sorted(home.glob("pages-*.bin"), key=_number, reverse=True):
        with suppress(OSError, ValueError), opened(path) as handle:
            with mmap.mmap(handle, 0, prot=mmap.PROT_READ) as mapped:
                for at in _written(handle):
                    if mapped[at : at + len(DESCRIPTION)] == DESCRIPTION:
                        begin = at + len(DESCRIPTION)
                        text = mapped[begin : mapped.find(b"\n", begin) + 1].decode(errors="replace")
                        yield (_number(path), at // PAGE), text


def _written(handle: int) -> Iterator[int]:
    """Where pages of a file begin that are no holes, the last first: a file may have grown beyond all that could be read."""
    parts, end = [], 0
    with suppress(OSError):  # nothing is written behind it
        while True:
            begin = os.lseek(handle, end, os.SEEK_DATA)
            end = os.lseek(handle, begin, os.SEEK_HOLE)
            parts.append(range(begin - begin % PAGE, end, PAGE))
    for part in reversed(parts):
        yield from reversed(part)


def sums_of(pages: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One number for each page. A sum of products is faster than CRC-32, and longer."""
    found: NDArray[np.uint64] = np.einsum("ij,j->i", pages.view(np.uint32), WEIGHTS)
    return found


def _runs(places: NDArray[np.int64]) -> list[Run]:
    """Page numbers as runs of ascending ones; ZERO as None."""
    if not places.size:
        return []
    goes_on = np.where(places[:-1] == ZERO, places[1:] == ZERO, places[1:] == places[:-1] + 1)
    firsts = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    counts = np.diff(firsts, append=places.size)
    return [(None if page == ZERO else page, count) for page, count in zip(places[firsts].tolist(), counts.tolist())]


def total_of(sums: NDArray[np.uint64]) -> int:
    """One number for all of these pages."""
    weights = np.cumprod(np.full(sums.size, WEIGHTS[0], np.uint64))
    return int((sums * weights).sum())


def _padded(description: str) -> bytes:
    data = DESCRIPTION + description.encode()
    return data.ljust(-(-len(data) // PAGE) * PAGE)


def _write(out: Any, data: bytes | memoryview) -> None:
    """All of it: a file without buffer may take a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[out.write(rest) :]


def _write_at(handle: int, data: memoryview, at: int) -> None:
    """All of it, at this place of a file: the kernel takes less than 2 GiB at once."""
    while data:
        done = os.pwrite(handle, data, at)
        data, at = data[done:], at + done


# ---- files, whatever lies there ------------------------------------------------------------------------------------------


def highest(home: Path, kind: str, none: int = 0) -> int:
    """The highest N of the names kind-N.… in the folder."""
    return max((_number(path) for path in home.glob(f"{kind}-*")), default=none)


def _number(path: Path) -> int:
    found = re.match(r"[a-z]+-(\d+)\.", path.name)
    return int(found[1]) if found else 0


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file to read from. OSError for what is none: a pipe by its name would wait for somebody to write."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path.name} is not a file")
        yield handle
    finally:
        os.close(handle)


def content(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """All of a file; see `opened`. ValueError where it has more bytes than that: whatever it is, it was not stored."""
    with opened(path) as handle, open(handle, "rb", closefd=False) as file:
        if os.fstat(handle).st_size > most:
            raise ValueError(f"{path.name} has more than {most:,} bytes")
        return file.read()


def remove(path: Path) -> None:
    """Whatever has this name, goes."""
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def cut(path: Path, size: int) -> None:
    """Take away what lies behind the first `size` bytes of a file, if there is something."""
    if path.stat().st_size > size:
        os.truncate(path, size)


@contextmanager
def in_memory(name: str) -> Iterator[tuple[int, Path]]:
    """An empty file that is on no disk."""
    handle = os.memfd_create(name)
    try:
        yield handle, Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
