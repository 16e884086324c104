"""Bytes of the four tiers, for the reference model (contract section 2): a sparse 64-bit memory that copies cheaply.

The memory is cut into pages of BLOCK_BYTES. A page holds a content id; the bytes of a content live once, however many
pages hold it, and id 0 is all zero. So a migration is one array assignment, whatever a block's size, and a block and
its clean copy in another tier share their bytes. Tier windows start on page boundaries (TIER_BASE is a multiple of
BLOCK_BYTES), but this module knows nothing of tiers: windows may be moved, may overlap, and addresses outside them
work alike.

Contents that no page holds any more are collected when their number has doubled, so memory in use stays within twice
what the pages hold (plus COLLECT_AT blobs).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..contract.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

SEGMENT_BITS = 16
"""Pages are kept in segments of 2^16 ids, made when one of their pages is first written."""
COLLECT_AT = 1024
ADDRESS_SPACE = 1 << 64


class BlockMemory:
    """`page_bytes` must be a power of two, so that pages tile the 64-bit space."""

    def __init__(self, page_bytes: int):
        if page_bytes <= 0 or page_bytes & (page_bytes - 1):
            raise UsageError(f"a block of {page_bytes} bytes is not a power of two")
        self.page_bytes = page_bytes
        self._zero = bytes(page_bytes)
        self.clear()

    def clear(self) -> None:
        self._segments: dict[int, NDArray[np.uint32]] = {}
        self._contents: dict[int, bytes] = {0: self._zero}
        self._spare_ids: list[int] = []
        self._collect_at = COLLECT_AT

    # ---- bytes, as a bus sees them ---------------------------------------------------------------------------------
    def read(self, addr: int, size: int) -> bytes:
        return b"".join(self._page(page)[first:last] for page, first, last in self._pieces(addr, size))

    def write(self, addr: int, data: bytes) -> None:
        data, done = bytes(data), 0
        for page, first, last in self._pieces(addr, len(data)):
            piece = data[done : done + last - first]
            done += len(piece)
            if len(piece) < self.page_bytes:
                old = self._page(page)
                piece = old[:first] + piece + old[last:]
            self._put(np.array([page], np.uint64), np.array([self._new_content(piece)], np.uint32))

    # ---- pages, as the DMA sees them -------------------------------------------------------------------------------
    def copy(self, source: NDArray[np.uint64], target: NDArray[np.uint64]) -> None:
        """Copy whole pages; both are byte addresses, uint64[n], multiples of `page_bytes`. All reads come before any
        write: with overlapping windows the device's order depends on memory timing, and no rule orders it."""
        if self._segments:
            self._put(target // self.page_bytes, self._ids(source // self.page_bytes))

    # ---- what a file keeps -----------------------------------------------------------------------------------------
    def state(self) -> dict[str, NDArray[Any]]:
        """The pages that are not zero, their ids, and the contents of ids 1..n; `set_state` takes it back."""
        pages: list[NDArray[Any]] = [np.empty(0, np.uint64)]
        ids: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)]
        for number, segment in self._segments.items():
            places = np.flatnonzero(segment)
            pages.append(places.astype(np.uint64) + (number << SEGMENT_BITS))
            ids.append(segment[places])
        held = np.concatenate(ids)
        used = distinct(held)
        contents = np.frombuffer(b"".join(self._contents[i] for i in used.tolist()), np.uint8)
        return {
            "pages": np.concatenate(pages),
            "page_contents": np.searchsorted(used, held).astype(np.uint32) + 1,
            "contents": contents.reshape(-1, self.page_bytes),
        }

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        self.clear()
        self._contents.update((i + 1, row.tobytes()) for i, row in enumerate(state["contents"]))
        self._collect_at = max(COLLECT_AT, 2 * len(self._contents))
        self._put(state["pages"].astype(np.uint64), state["page_contents"].astype(np.uint32))

    # ---- inside ----------------------------------------------------------------------------------------------------
    def _pieces(self, addr: int, size: int) -> Iterator[tuple[int, int, int]]:
        """(page, first, last) of each page that [addr, addr+size) touches, in order."""
        if addr < 0 or size < 0 or addr + size > ADDRESS_SPACE:
            raise UsageError(f"{size} bytes at {addr:#x} are not inside the 64-bit address space")
        end = addr + size
        while addr < end:
            page, first = divmod(addr, self.page_bytes)
            last = min(self.page_bytes, first + end - addr)
            yield page, first, last
            addr += last - first

    def _page(self, page: int) -> bytes:
        segment = self._segments.get(page >> SEGMENT_BITS)
        return self._zero if segment is None else self._contents[int(segment[page & ((1 << SEGMENT_BITS) - 1)])]

    def _by_segment(self, pages: NDArray[np.integer[Any]]) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
        """(segment number, which of `pages`, their places in it). A tier window lies in one or two segments."""
        numbers, places = pages >> SEGMENT_BITS, (pages & ((1 << SEGMENT_BITS) - 1)).astype(np.intp)
        for number in distinct(numbers).tolist():
            which = np.flatnonzero(numbers == number)
            yield number, which, places[which]

    def _ids(self, pages: NDArray[np.integer[Any]]) -> NDArray[np.uint32]:
        ids = np.zeros(pages.size, np.uint32)
        for number, which, places in self._by_segment(pages):
            if number in self._segments:
                ids[which] = self._segments[number][places]
        return ids

    def _put(self, pages: NDArray[np.integer[Any]], ids: NDArray[np.uint32]) -> None:
        for number, which, places in self._by_segment(pages):
            if number not in self._segments:
                if not ids[which].any():
                    continue
                self._segments[number] = np.zeros(1 << SEGMENT_BITS, np.uint32)
            self._segments[number][places] = ids[which]

    def _new_content(self, data: bytes) -> int:
        if data == self._zero:
            return 0
        if len(self._contents) >= self._collect_at:
            self._collect()
        content = self._spare_ids.pop() if self._spare_ids else len(self._contents)
        self._contents[content] = data
        return content

    def _collect(self) -> None:
        """Forget the contents that no page holds. Ids are dense: 0..n-1 is `_contents` and `_spare_ids` together."""
        held = np.zeros(len(self._contents) + len(self._spare_ids), bool)
        held[0] = True
        for segment in self._segments.values():
            held[segment] = True
        self._spare_ids = np.flatnonzero(~held).tolist()
        for content in self._spare_ids:
            self._contents.pop(content, None)
        self._collect_at = max(COLLECT_AT, 2 * len(self._contents))


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """The values without repeats, ascending: as np.unique, for which numpy imports its masked arrays, a third of a start."""
    values = np.sort(values)
    first = np.ones(values.size, bool)  # of its value
    first[1:] = values[1:] != values[:-1]
    found: NDArray[Any] = values[first]
    return found
