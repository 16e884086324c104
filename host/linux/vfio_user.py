"""The vfio-user protocol, the server's side: a process that is a PCI function of a virtual machine.

The client is QEMU (10.1 and later: `-device vfio-user-pci`). Messages and numbers are those of the specification that is part
of QEMU's manual (vfio-user), version 0.1, over a UNIX socket; descriptors of memory and interrupts come as SCM_RIGHTS. Accesses
to BAR0 and BAR2 never get here: `GuestPort.serve` answers them, and leaves the rest to `Connection`, message by message.

A request that cannot be granted is answered with an errno, and the connection goes on. A message that the protocol does not have
(a length that is none, a request cut off, a reply that nobody waits for) is a `TargetError` that says what came, and ends it.
"""

from __future__ import annotations

import array
import errno
import json
import mmap
import os
import socket
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Protocol

import numpy as np

from ..contract.errors import TargetError
from ..transport.sim.guest import BAR0_BYTES, BAR2_BYTES, WINDOW
from .pci_function import SIZE as CONFIG_BYTES
from .pci_function import ConfigSpace

PAGE = 4096
LARGEST = 1 << 16
"""Bytes of a message: the longest that is expected is a write of 4 KiB."""
LARGEST_ACCESS = 4096
MAX_DESCRIPTORS = 8
TIMEOUT = 5.0
"""Seconds that a message may take from its first byte to its last, in both directions."""


class Command(IntEnum):
    """What a client asks."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    GET_INFO = 4
    GET_REGION_INFO = 5
    GET_REGION_IO_FDS = 6
    GET_IRQ_INFO = 7
    SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    RESET = 13


HEADER = Struct("<HHIII")  # id, command, size, flags, error
INFO = Struct("<IIII")  # argsz, flags, regions, interrupts
REGION_INFO = Struct("<IIIIQQ")  # argsz, flags, index, offset of capabilities, size, offset
IRQ_INFO = Struct("<IIII")  # argsz, flags, index, count
SET_IRQS = Struct("<IIIII")  # argsz, flags, index, start, count
DMA_MAP = Struct("<IIQQQ")  # argsz, flags, offset in the descriptor's file, address, size
DMA_UNMAP = Struct("<IIQQ")  # argsz, flags, address, size
ACCESS = Struct("<QII")  # offset, region, count
VERSION = Struct("<HH")  # major, minor
REPLY, TYPE_BITS, NO_REPLY, ERROR = 1, 15, 16, 32
MAJOR, MINOR = 0, 1

BAR0, BAR2, CONFIG, REGIONS = 0, 2, 7, 9
REGION_BYTES = {BAR0: BAR0_BYTES, BAR2: BAR2_BYTES, CONFIG: CONFIG_BYTES}
MSI, IRQS = 1, 5
_CAN_RESET, _IS_PCI = 1, 2
_READABLE, _WRITABLE = 1, 2
_IRQ_EVENTFD, _IRQ_NORESIZE = 1, 8
_DATA_NONE, _DATA_EVENTFD, _ACTION_TRIGGER = 1, 4, 32

_SHORTEST = {
    Command.VERSION: VERSION.size, Command.DMA_MAP: DMA_MAP.size, Command.DMA_UNMAP: DMA_UNMAP.size, Command.GET_INFO: INFO.size,
    Command.GET_REGION_INFO: REGION_INFO.size, Command.GET_IRQ_INFO: IRQ_INFO.size, Command.SET_IRQS: SET_IRQS.size,
    Command.REGION_READ: ACCESS.size, Command.REGION_WRITE: ACCESS.size,
}  # fmt: skip
"""Bytes that a message has at least, behind its header."""


class Hardware(Protocol):
    """What is behind the protocol: a `GuestPort` and who resets it."""

    def lend(self, address: int, data: int, size: int, writable: bool) -> None: ...

    def take_back(self, address: int) -> None: ...

    def signal(self, interrupt: int) -> None: ...


class Message(NamedTuple):
    """A request. `descriptors` belong to who handles it."""

    ident: int
    command: int
    flags: int
    body: bytes
    descriptors: list[int]


class Refused(Exception):
    """The answer is an errno."""

    def __init__(self, number: int):
        super().__init__(os.strerror(number))
        self.number = number


class Lent:
    """A range of the guest's memory, mapped into this process."""

    def __init__(self, descriptor: int, offset: int, size: int, writable: bool):
        self.size = size
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._map = mmap.mmap(descriptor, size, mmap.MAP_SHARED, protection, offset=offset)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self.place = self._bytes.ctypes.data

    def close(self) -> None:
        del self._bytes
        self._map.close()


class Connection:
    """One client at `sock`, from its first message to its last. `reset` is called when it resets the device."""

    def __init__(self, sock: socket.socket, hardware: Hardware, reset: Callable[[], None]):
        self._sock, self._hardware, self._reset = sock, hardware, reset
        self._config = ConfigSpace()
        self._memory: dict[int, tuple[int, Lent | None]] = {}
        self._interrupt: int | None = None
        self._negotiated = False
        sock.setblocking(True)
        timeout = Struct("@ll").pack(int(TIMEOUT), 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)  # not settimeout, which makes the descriptor non-blocking
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    def close(self) -> None:
        """Let go of the client's memory and descriptors."""
        self._let_go_of_interrupt()
        for address in [*self._memory]:
            self._forget(address)

    # ---- messages ----------------------------------------------------------------------------------------------------
    def handle(self) -> bool:
        """Take the message that waits and answer it. False where the client has gone."""
        message = self._receive()
        if message is None:
            return False
        try:
            reply, number = self._answer(message), 0
        except Refused as refusal:
            reply, number = b"", refusal.number
        finally:
            for descriptor in message.descriptors:
                os.close(descriptor)
        if message.flags & NO_REPLY:
            return True
        flags = REPLY | (ERROR if number else 0)
        try:
            self._sock.sendall(HEADER.pack(message.ident, message.command, HEADER.size + len(reply), flags, number) + reply)
        except OSError:
            return False
        return True

    def _receive(self) -> Message | None:
        """The header by itself first: descriptors come with the first byte of their message, and a longer read could take in
        two."""
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)
        try:
            header, ancillary, _, _ = self._sock.recvmsg(HEADER.size, room, socket.MSG_WAITALL | socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            raise broken(f"no message came for {TIMEOUT:g} s where one was due") from None
        except OSError:
            return None
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[: len(data) // 4 * 4])
        try:
            if not header:
                return None
            if len(header) < HEADER.size:
                raise broken(f"a header of {len(header)} bytes; it has {HEADER.size}")
            ident, command, size, flags, _ = HEADER.unpack(header)
            if not HEADER.size <= size <= LARGEST:
                raise broken(f"a message of {size:,} bytes; {HEADER.size} to {LARGEST:,} are allowed")
            if flags & TYPE_BITS:
                raise broken(f"a message of type {flags & TYPE_BITS} where a command was due")
            return Message(ident, command, flags, self._body(size - HEADER.size), descriptors.tolist())
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise

    def _body(self, size: int) -> bytes:
        body = b""
        while len(body) < size:
            try:
                part = self._sock.recv(size - len(body), socket.MSG_WAITALL)
            except OSError:
                part = b""
            if not part:
                raise broken(f"a message that ends behind {len(body)} of {size} bytes")
            body += part
        return body

    def _answer(self, message: Message) -> bytes:
        try:
            command = Command(message.command)
        except ValueError:
            raise Refused(errno.ENOTSUP) from None
        shortest = _SHORTEST.get(command, 0)
        if len(message.body) < shortest:
            raise broken(f"{command.name} of {len(message.body)} bytes; it has {shortest}")
        if self._negotiated == (command is Command.VERSION):
            raise broken(f"{command.name} {'again' if self._negotiated else 'before VERSION'}")
        match command:
            case Command.VERSION:
                return self._version(message.body)
            case Command.DMA_MAP:
                return self._map(message)
            case Command.DMA_UNMAP:
                return self._unmap(message.body)
            case Command.GET_INFO:
                return INFO.pack(INFO.size, _CAN_RESET | _IS_PCI, REGIONS, IRQS)
            case Command.GET_REGION_INFO:
                return self._region_info(message.body)
            case Command.GET_IRQ_INFO:
                return self._irq_info(message.body)
            case Command.SET_IRQS:
                return self._set_irqs(message)
            case Command.REGION_READ:
                return self._read(message.body)
            case Command.REGION_WRITE:
                return self._write(message.body)
            case Command.RESET:
                self._reset()
                return b""
            case _:
                raise Refused(errno.ENOTSUP)

    # ---- negotiation -------------------------------------------------------------------------------------------------
    def _version(self, body: bytes) -> bytes:
        major, minor = VERSION.unpack_from(body)
        if major != MAJOR:
            raise broken(f"version {major}.{minor} of the protocol; this is {MAJOR}.{MINOR}")
        proposed = _capabilities(body[VERSION.size :])
        ours = {"max_msg_fds": MAX_DESCRIPTORS, "max_data_xfer_size": LARGEST_ACCESS}
        there = {name: value for name, value in proposed.items() if isinstance(value, int) and value > 0}
        said = {name: min(value, there[name]) for name, value in ours.items() if name in there}
        text = json.dumps({"capabilities": said}, separators=(",", ":")).encode() + b"\0" if said else b""
        self._negotiated = True
        return VERSION.pack(MAJOR, min(minor, MINOR)) + text

    # ---- memory ------------------------------------------------------------------------------------------------------
    def _map(self, message: Message) -> bytes:
        _, flags, offset, address, size = DMA_MAP.unpack_from(message.body)
        if not size or (offset | address | size) % PAGE or address + size > WINDOW:
            raise Refused(errno.EINVAL)
        if any(address < first + held and first < address + size for first, (held, _) in self._memory.items()):
            raise Refused(errno.EEXIST)
        lent = None
        if message.descriptors and flags & _READABLE:
            descriptor, writable = message.descriptors[0], bool(flags & _WRITABLE)
            try:
                if os.fstat(descriptor).st_size < offset + size:
                    raise Refused(errno.EINVAL)  # touching what lies behind its end would kill this process
                lent = Lent(descriptor, offset, size, writable)
            except (OSError, ValueError, OverflowError):
                raise Refused(errno.EINVAL) from None
            self._hardware.lend(address, lent.place, size, writable)
        self._memory[address] = size, lent
        return b""

    def _unmap(self, body: bytes) -> bytes:
        _, _, address, size = DMA_UNMAP.unpack_from(body)
        if self._memory.get(address, (None, None))[0] != size:
            raise Refused(errno.EINVAL)
        self._forget(address)
        return body[: DMA_UNMAP.size]

    def _forget(self, address: int) -> None:
        _, lent = self._memory.pop(address)
        if lent:
            self._hardware.take_back(address)
            lent.close()

    # ---- what there is -----------------------------------------------------------------------------------------------
    @staticmethod
    def _region_info(body: bytes) -> bytes:
        index = REGION_INFO.unpack_from(body)[2]
        if index >= REGIONS:
            raise Refused(errno.EINVAL)
        size = REGION_BYTES.get(index, 0)
        return REGION_INFO.pack(REGION_INFO.size, _READABLE | _WRITABLE if size else 0, index, 0, size, 0)

    @staticmethod
    def _irq_info(body: bytes) -> bytes:
        index = IRQ_INFO.unpack_from(body)[2]
        if index > 2:  # INTx, MSI, MSI-X; the error and request interrupts that come next are not there
            raise Refused(errno.EINVAL)
        count = int(index == MSI)
        return IRQ_INFO.pack(IRQ_INFO.size, (_IRQ_EVENTFD | _IRQ_NORESIZE) * count, index, count)

    # ---- interrupts --------------------------------------------------------------------------------------------------
    def _set_irqs(self, message: Message) -> bytes:
        _, flags, index, start, count = SET_IRQS.unpack_from(message.body)
        if not flags & _ACTION_TRIGGER or index != MSI:
            if count:
                raise Refused(errno.EINVAL)
            return b""
        if start or count > 1 or not flags & (_DATA_NONE | _DATA_EVENTFD):
            raise Refused(errno.EINVAL)
        self._let_go_of_interrupt()
        if count and flags & _DATA_EVENTFD and message.descriptors:
            self._interrupt = message.descriptors.pop(0)
            self._hardware.signal(self._interrupt)
        return b""

    def _let_go_of_interrupt(self) -> None:
        if self._interrupt is not None:
            self._hardware.signal(-1)
            os.close(self._interrupt)
            self._interrupt = None

    # ---- accesses ----------------------------------------------------------------------------------------------------
    def _read(self, body: bytes) -> bytes:
        offset, region, count = ACCESS.unpack_from(body)
        self._check_access(offset, region, count)
        return body[: ACCESS.size] + self._config.read(offset, count)

    def _write(self, body: bytes) -> bytes:
        offset, region, count = ACCESS.unpack_from(body)
        if len(body) != ACCESS.size + count:
            raise broken(f"REGION_WRITE of {count} bytes that has {len(body) - ACCESS.size}")
        self._check_access(offset, region, count)
        self._config.write(offset, body[ACCESS.size :])
        return body[: ACCESS.size]

    @staticmethod
    def _check_access(offset: int, region: int, count: int) -> None:
        """Of those to a BAR, only what is outside of it gets here."""
        if region != CONFIG or offset + count > CONFIG_BYTES:
            raise Refused(errno.EINVAL)


def _capabilities(data: bytes) -> dict[str, object]:
    """What the client proposes; nothing where it says nothing."""
    try:
        found = json.loads(data.rstrip(b"\0") or b"{}")
        capabilities: dict[str, object] = found.get("capabilities", {})
        capabilities.get("")
        return capabilities
    except (ValueError, AttributeError, RecursionError):
        raise broken(f"version data that is no JSON object: {data[:60]!r}") from None


def broken(what: str) -> TargetError:
    """What the client sent is not in the protocol."""
    remedy = "use a client of version 0.1, such as QEMU 10.1 or later"
    return TargetError(f"the client broke the vfio-user protocol: {what}", remedy)
