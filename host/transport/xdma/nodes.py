"""The device nodes that the Xilinx XDMA driver makes for one card: which they are, how large the BAR is, the two ways to a
register word, and bulk transfers.

    xdma0_user          the register BAR: mmap, or pread/pwrite of exactly one aligned 32-bit word
    xdma0_h2c_0         host to card: write at an AXI address
    xdma0_c2h_0         card to host: read at an AXI address
    xdma0_events_0      interrupts of the design; may be missing

A folder that a udev rule fills with user, h2c_0, c2h_0, events_0 (or h2c0, …) does as well. The driver checks no bounds,
so that is done here; it lets anybody open a node at any time, for which there is transport/holder.py.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from ...contract.errors import TargetError, UsageError

DRIVER = "load the driver (`modprobe xdma`), and see that `lspci -d 10ee:` shows the card"
_GONE = ("is gone", "see that the card has power and that `lspci -d 10ee:` shows it; then load the driver again")
_FORBIDDEN = ("may not be used", "run as root, or let a udev rule for SUBSYSTEM xdma give you the nodes")
_FAILED = ("failed a transfer", "`dmesg` has the driver's reason; load the driver again, or the bitstream")
_REFUSED = ("refused an access", "`dmesg` has the driver's reason; is this a node of the Xilinx XDMA driver?")
_TROUBLE = {
    errno.ENOENT: ("is not there", DRIVER),
    errno.EACCES: _FORBIDDEN, errno.EPERM: _FORBIDDEN,
    errno.ENODEV: _GONE, errno.ENXIO: _GONE, errno.ENOTCONN: _GONE, errno.ECONNABORTED: _GONE, errno.ESHUTDOWN: _GONE,
    errno.EIO: _FAILED, errno.ETIMEDOUT: _FAILED,
    errno.EPROTO: _REFUSED, errno.EINVAL: _REFUSED,
}  # fmt: skip
MEMORY_RESOURCE = 0x200
"""Flag of a memory BAR in a PCI device's `resource` file (IORESOURCE_MEM)."""


def trouble(error: OSError, node: str | Path) -> TargetError:
    """What an OSError of the driver means."""
    what, remedy = _TROUBLE.get(error.errno or 0, ("failed", "`dmesg` has the driver's reason"))
    return TargetError(f"{node} {what}: {error.strerror or error}", remedy)


class Nodes(NamedTuple):
    """`events` None: the card's design has no interrupt."""

    user: Path
    h2c: Path
    c2h: Path
    events: Path | None


def find(folder: str | Path) -> Nodes:
    """The nodes of the one card in a folder; or of the card that a prefix such as /dev/xdma0 means."""
    folder = Path(folder)
    if not folder.is_dir():
        return _nodes(f"{folder}_")
    cards = sorted({m[1] for m in map(re.compile(r"(xdma\d+)_user").fullmatch, os.listdir(folder)) if m})
    if len(cards) > 1:
        raise TargetError(f"{folder} has several cards: {', '.join(cards)}", f"choose one, such as xdma:{folder / cards[0]}")
    return _nodes(f"{folder / cards[0]}_" if cards else f"{folder}/")


def _nodes(prefix: str) -> Nodes:
    def node(*names: str) -> Path | None:
        return next((path for name in names if (path := Path(prefix + name)).exists()), None)

    def needed(*names: str) -> Path:
        path = node(*names)
        if path is None:
            raise TargetError(f"there is no {prefix}{names[0]}", f"xdma:DIR names the folder of the driver's nodes; {DRIVER}")
        return path

    return Nodes(needed("user"), needed("h2c_0", "h2c0"), needed("c2h_0", "c2h0"), node("events_0", "events0"))


def bar_size(user: Path, sysfs: str | Path, claimed: int | None) -> int | None:
    """Bytes of the register BAR: the least of what sysfs, the board file (`claimed`) and a node that is a plain file say; None
    where nobody says anything. The user BAR is the card's first memory BAR."""
    status = user.stat()
    entry = Path(sysfs) / "class/xdma" / user.resolve().name
    sizes = {claimed, status.st_size if stat.S_ISREG(status.st_mode) else None}
    try:
        if (entry / "dev").read_text().strip() == f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}":
            for line in (entry / "device/resource").read_text().splitlines():
                first, last, flags = (int(number, 16) for number in line.split())
                if flags & MEMORY_RESOURCE:
                    sizes.add(last - first + 1)
                    break
    except (OSError, ValueError):
        pass  # no sysfs here, or another kind of node
    return min((size for size in sizes if size is not None), default=None)


class MappedBar:
    """Words of a mapped BAR. Element access to a memoryview of 32-bit words is exactly one 32-bit access on the bus, `tolist` one
    for each word; a slice of the mmap itself makes two, and struct stores zeros first.

    The virtual board cannot be mapped, and FileBar serves there; tests/helpers/mapped_bar.py maps it all the same."""

    def __init__(self, fd: int, size: int):
        self._map = mmap.mmap(fd, size)
        self._words = memoryview(self._map).cast("I")

    def load(self, at: int) -> int:
        return self._words[at >> 2]

    def store(self, at: int, value: int) -> None:
        self._words[at >> 2] = value

    def load_many(self, at: int, count: int) -> list[int]:
        return self._words[at >> 2 : (at >> 2) + count].tolist()

    def close(self) -> None:
        self._words.release()
        self._map.close()


class FileBar:
    """Words by pread and pwrite, one a call: the driver moves no more, whatever the count."""

    def __init__(self, fd: int):
        self._fd = fd

    def load(self, at: int) -> int:
        data = os.pread(self._fd, 4, at)
        if len(data) != 4:
            raise OSError(errno.EPROTO, f"{len(data)} bytes came for a register of 4")
        return int.from_bytes(data, "little")

    def store(self, at: int, value: int) -> None:
        count = os.pwrite(self._fd, value.to_bytes(4, "little"), at)
        if count != 4:
            raise OSError(errno.EPROTO, f"{count} bytes of a register of 4 were taken")

    def load_many(self, at: int, count: int) -> list[int]:
        return [self.load(at + 4 * i) for i in range(count)]

    def close(self) -> None:
        pass


def open_bar(fd: int, size: int) -> MappedBar | FileBar:
    """Mapped where the node lets itself be mapped. OSError EINVAL is the driver's word for a BAR that is too small."""
    try:
        return MappedBar(fd, size)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise
        return FileBar(fd)


class Channel:
    """Bulk transfers over h2c and c2h.

    An engine may insist that the host's address and the card's agree in their low bits, so everything goes through one buffer
    at a chosen place. And preadv must not be used: the driver would take that for asynchronous I/O, which the kernel cannot
    wait for; hence seek and readinto.
    """

    CHUNK = 4 << 20
    PAGE = 4096

    def __init__(self, h2c: Path, c2h: Path):
        self._h2c_node, self._c2h_node = h2c, c2h
        self._buffer: memoryview | None = None
        self._c2h = os.fdopen(os.open(c2h, os.O_RDONLY), "rb", buffering=0)
        try:
            self._h2c = os.open(h2c, os.O_WRONLY)
        except OSError:
            self._c2h.close()
            raise

    def read(self, addr: int, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            view = self._view(addr + len(data), size - len(data))
            self._c2h.seek(addr + len(data))
            count = self._c2h.readinto(view)
            if not count:
                raise TargetError(f"{self._c2h_node} moved only {len(data)} of {size} bytes from {addr:#x}", _FAILED[1])
            data += view[:count]
        return bytes(data)

    def write(self, addr: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            view = self._view(addr + done, len(data) - done)
            view[:] = data[done : done + len(view)]
            count = os.pwrite(self._h2c, view, addr + done)
            if not count:
                raise TargetError(f"{self._h2c_node} moved only {done} of {len(data)} bytes to {addr:#x}", _FAILED[1])
            done += count

    def _view(self, addr: int, size: int) -> memoryview:
        """At most `size` bytes of the buffer, at the same place in a page as `addr`."""
        if self._buffer is None:
            self._buffer = memoryview(mmap.mmap(-1, self.CHUNK + self.PAGE))
        first = addr % self.PAGE
        return self._buffer[first : first + min(size, self.CHUNK)]

    def close(self) -> None:
        self._c2h.close()
        os.close(self._h2c)


def check_layout(regions: dict[str, tuple[int, int]]) -> int:
    """Bytes of BAR that `regions` (name: offset, length) need. UsageError where a board file cannot mean what it says."""
    for name, (first, _) in regions.items():
        if first < 0 or first % 4:
            raise UsageError(f"{name} at offset {first:#x} of the user BAR: must be a multiple of 4", "correct `bar_offsets`")
    (name, (first, length)), (other, (start, _)) = sorted(regions.items(), key=lambda item: item[1])
    if first + length > start:
        raise UsageError(f"{name} ({length:#x} bytes at {first:#x}) overlaps {other} at {start:#x}", "correct `bar_offsets`")
    return max(first + length for first, length in regions.values())
