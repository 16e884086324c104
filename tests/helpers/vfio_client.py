"""A client of vfio-user that is not QEMU: speaks the protocol message by message, as its specification has them, and maps memory
of its own for the device."""

from __future__ import annotations

import json
import mmap
import os
import select
import socket
import struct
from pathlib import Path

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, REGION_INFO, IRQ_INFO, SET_IRQS, READ, WRITE, RESET = 1, 2, 3, 4, 5, 7, 8, 9, 10, 13
BAR0, BAR2, CONFIG = 0, 2, 7
MSI = 1


class Refused(Exception):
    """The server answered with this errno."""

    def __init__(self, number: int):
        super().__init__(os.strerror(number))
        self.number = number


class Client:
    """Connected to the server at `path`."""

    def __init__(self, path: Path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(str(path))
        self._ident = 0

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- messages ----------------------------------------------------------------------------------------------------
    def send(self, command: int, body: bytes = b"", descriptors: tuple[int, ...] = (), flags: int = 0) -> int:
        self._ident = (self._ident + 1) & 0xFFFF
        data = struct.pack("<HHIII", self._ident, command, 16 + len(body), flags, 0) + body
        socket.send_fds(self.sock, [data], descriptors)
        return self._ident

    def receive(self, ident: int, command: int) -> bytes:
        header = self.exactly(16)
        if len(header) < 16:
            raise ConnectionError("the server closed the connection")
        back, what, size, flags, error = struct.unpack("<HHIII", header)
        body = self.exactly(size - 16)
        assert (back, what, flags & 15) == (ident, command, 1)
        if flags & 32:
            raise Refused(error)
        return body

    def exactly(self, count: int) -> bytes:
        """Fewer where the server closes the connection."""
        data = b""
        while len(data) < count and (part := self._part(count - len(data))):
            data += part
        return data

    def _part(self, count: int) -> bytes:
        try:
            return self.sock.recv(count)
        except ConnectionResetError:
            return b""

    def ask(self, command: int, body: bytes = b"", *descriptors: int) -> bytes:
        return self.receive(self.send(command, body, descriptors), command)

    def negotiate(self, major: int = 0, minor: int = 1, data: bytes | None = None) -> tuple[int, int, dict[str, int]]:
        proposed = {"capabilities": {"max_msg_fds": 8, "max_data_xfer_size": 1 << 20, "pgsizes": 4096, "write_multiple": True}}
        data = json.dumps(proposed).encode() + b"\0" if data is None else data
        answer = self.ask(VERSION, struct.pack("<HH", major, minor) + data)
        assert len(answer) <= 4 + len(data)
        return *struct.unpack_from("<HH", answer), json.loads(answer[4:].rstrip(b"\0") or b'{"capabilities": {}}')["capabilities"]

    # ---- accesses ----------------------------------------------------------------------------------------------------
    def load(self, region: int, offset: int, count: int) -> bytes:
        request = struct.pack("<QII", offset, region, count)
        answer = self.ask(READ, request)
        assert answer[:16] == request
        return answer[16:]

    def store(self, region: int, offset: int, data: bytes) -> None:
        request = struct.pack("<QII", offset, region, len(data))
        assert self.ask(WRITE, request + data) == request

    def readl(self, offset: int) -> int:
        return int.from_bytes(self.load(BAR0, offset, 4), "little")

    def readq(self, offset: int) -> int:
        return int.from_bytes(self.load(BAR0, offset, 8), "little")

    def writel(self, offset: int, value: int) -> None:
        self.store(BAR0, offset, value.to_bytes(4, "little"))

    def writeq(self, offset: int, value: int) -> None:
        self.store(BAR0, offset, value.to_bytes(8, "little"))

    def post(self, offset: int, value: int, count: int = 8) -> None:
        """A write that nobody waits for, as QEMU sends them."""
        self.send(WRITE, struct.pack("<QII", offset, BAR0, count) + value.to_bytes(count, "little"), flags=16)

    # ---- memory and interrupts ---------------------------------------------------------------------------------------
    def map(self, address: int, descriptor: int | None, size: int, offset: int = 0, flags: int = 3) -> None:
        self.ask(DMA_MAP, struct.pack("<IIQQQ", 32, flags, offset, address, size), *([] if descriptor is None else [descriptor]))

    def unmap(self, address: int, size: int) -> None:
        request = struct.pack("<IIQQ", 24, 0, address, size)
        assert self.ask(DMA_UNMAP, request) == request

    def set_interrupt(self, event: int | None) -> None:
        """`event`: an eventfd. None switches it off."""
        flags, count = (0x24, 1) if event is not None else (0x21, 0)
        self.ask(SET_IRQS, struct.pack("<IIIII", 20, flags, MSI, 0, count), *([] if event is None else [event]))


class Ram:
    """Guest memory: a memfd and its mapping."""

    def __init__(self, size: int):
        self.size = size
        self.descriptor = os.memfd_create("guest")
        os.ftruncate(self.descriptor, size)
        self.bytes = mmap.mmap(self.descriptor, size)


def rung(event: int, seconds: float = 60.0) -> int:
    """How often an eventfd was signalled; 0 where it was not within that time."""
    ready, _, _ = select.select([event], [], [], seconds)
    return int.from_bytes(os.read(event, 8), "little") if ready else 0
