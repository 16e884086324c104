"""What a remote target and its clients say to each other (docs/remote.md): messages, limits, addresses.

A message is one ZeroMQ frame, one msgpack array that begins with the name of its kind. Messages are typed: what does not fit its
type is refused by the decoder, before anybody looks at it. Arrays of words and records are bytes, little endian.
"""

from __future__ import annotations

import os
import re
import socket
from array import array
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct

from ...contract import errors
from ...contract.errors import KvfpgaError, TargetError, UsageError
from ..mmio import SPACE_BYTES, Batch, OpKind

PROTOCOL = 1
"""Number of this protocol. Whoever changes a message raises it; only Hello and Refused stay as they are for ever."""
MESSAGE_BYTES = 20 << 20
"""Of a frame to the server. A larger one is refused by its length, before it is received."""
BATCH_OPS = 1 << 20
BATCH_WORDS = 1 << 22
BATCH_CLOCKS = 100_000_000
MEMORY_BYTES = 1 << 20
"""Of memory in one message; clients cut longer accesses up. Small, because heartbeats only come between messages."""
LONGEST_WAIT = 1e9
PENDING = 8
"""Requests of one client that the server keeps; more than one only where a client was interrupted while it waited for a reply."""
PATH_BYTES = 107
"""Linux has no room for a longer path in the address of a socket."""

Word = Annotated[int, Meta(ge=0, lt=1 << 32)]
Count = Annotated[int, Meta(ge=0, le=SPACE_BYTES // 4)]
Size = Annotated[int, Meta(ge=0, le=MEMORY_BYTES)]
Address = Annotated[int, Meta(ge=0)]
Number = Annotated[int, Meta(ge=0, lt=1 << 62)]
Text = Annotated[str, Meta(max_length=200)]


class Hello(Struct, array_like=True, tag=True):
    """First message of a client. `version`: of its kvfpga; `who`: for people. Later protocols may have more fields."""

    protocol: Number
    version: Text
    who: Text


class _Message(Struct, array_like=True, tag=True, forbid_unknown_fields=True):
    pass


class Bye(_Message):
    """The client gives its place back."""


class _Request(_Message):
    """`number` rises from request to request; the reply repeats it."""

    number: Number


class Read32(_Request):
    offset: Word


class Write32(_Request):
    offset: Word
    value: Word


class ReadBurst(_Request):
    offset: Word
    words: Count


class Run(_Request):
    """`ops`: a Batch's, four words each."""

    ops: bytes


class MemoryRead(_Request):
    addr: Address
    size: Size


class MemoryWrite(_Request):
    addr: Address
    data: Annotated[bytes, Meta(max_length=MEMORY_BYTES)]


class MemoryReadBlocks(_Request):
    """`addrs`: 8 bytes each."""

    addrs: Annotated[bytes, Meta(max_length=MEMORY_BYTES)]
    size: Size


class WaitIdle(_Request):
    budget: Annotated[float, Meta(ge=0, le=LONGEST_WAIT)] | None


class ClockCycles(_Request):
    pass


class Refused(Struct, array_like=True, tag=True):
    """No place, or a message that means nothing to the server. `protocol`, `version`: the server's."""

    protocol: int
    version: str
    message: str
    remedy: str | None


class Welcome(_Message):
    """The client has its place. `name`: of the device, such as "sim"."""

    name: str
    shared: bool


class Place(_Message):
    """The client is in the queue; 1 is the next."""

    place: int


class Waiting(_Message):
    """So many others wait. To those who have a place, now and then; that it cannot be delivered shows who is gone."""

    count: int


class Closing(_Message):
    """The server ends."""


class Value(_Request):
    value: int | None


class Data(_Request):
    data: bytes


class Ran(_Request):
    """`words` 4 bytes each, `records` 8."""

    words: bytes
    records: bytes


class Failed(_Request):
    """The exception that the access ended with: its class in errors.py, and its fields beside message and remedy."""

    kind: str
    message: str
    remedy: str | None
    fields: dict[str, bool | int | str]


Answer = Value | Data | Ran
"""What an access answers with, or Failed."""
Access = Read32 | Write32 | ReadBurst | Run | MemoryRead | MemoryWrite | MemoryReadBlocks | WaitIdle | ClockCycles
encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Hello | Bye | Access).decode
Reply = Refused | Welcome | Place | Waiting | Closing | Answer | Failed
decode_reply = msgspec.msgpack.Decoder(Reply).decode
NOT_A_MESSAGE = (msgspec.MsgspecError, RecursionError, ValueError)
"""What the decoders raise."""


# ---- batches and errors ------------------------------------------------------------------------------------------------
_SPAN = np.array([0, 1, 2, 0, 2, 0])
"""Words that an operation touches, by OpKind; of READ it is in the operation."""


def pack_batch(batch: Batch) -> bytes:
    """The operations as bytes. UsageError where they are more than a server takes."""
    if len(batch) > BATCH_OPS or batch.words > BATCH_WORDS:
        raise UsageError(
            f"a batch of {len(batch)} operations and {batch.words} words is too long for a remote target "
            f"({BATCH_OPS} operations, {BATCH_WORDS} words)",
            "make several of it",
        )
    return np.frombuffer(batch.ops, np.uint32).astype("<u4", copy=False).tobytes()


def unpack_batch(ops: bytes) -> Batch:
    """The batch again, checked as `Batch` checks what is put into it, because targets count on that. UsageError if not."""
    if len(ops) % 16 or len(ops) > 16 * BATCH_OPS:
        raise UsageError(f"{len(ops)} bytes are not the operations of a batch")
    batch = Batch()
    if not ops:
        return batch
    kind, offset, value, _ = np.frombuffer(ops, "<u4").reshape(-1, 4).astype(np.int64).T
    if kind.max() >= len(_SPAN):
        raise UsageError(f"operation {kind.max()} is unknown")
    reads = kind == OpKind.READ
    words = value[reads]
    batch.words = int(words.sum())
    span = _SPAN[kind]
    span[reads] = words
    if (offset + 4 * span).max() > SPACE_BYTES:
        raise UsageError("an operation is outside the register space")
    if batch.words > BATCH_WORDS:
        raise UsageError(f"a batch that reads {batch.words} words")
    if (value[kind == OpKind.DRAIN] > 31).any() or value[kind == OpKind.CLOCK].sum() > BATCH_CLOCKS:
        raise UsageError("a valid bit above 31, or too many clock cycles")
    batch.ops = array("I", np.frombuffer(ops, "<u4").astype(np.uint32, copy=False).tobytes())
    return batch


_FIELDS = {"BusError": ("offset", "is_write", "position"), "DeviceRefused": ("code",)}


def pack_error(number: int, error: KvfpgaError) -> Failed:
    kind = type(error).__name__
    if getattr(errors, kind, None) is not type(error):
        kind = next(base.__name__ for base in type(error).__mro__ if getattr(errors, base.__name__, None) is base)
    return Failed(number, kind, error.message, error.remedy, {name: getattr(error, name) for name in _FIELDS.get(kind, ())})


def unpack_error(failed: Failed) -> KvfpgaError:
    """The same exception again; one of a kind that is unknown here is a TargetError."""
    kind = getattr(errors, failed.kind, None)
    names = set(_FIELDS.get(failed.kind, ()))
    if not (isinstance(kind, type) and issubclass(kind, KvfpgaError)) or names != set(failed.fields):
        return TargetError(failed.message, failed.remedy)
    error = kind.__new__(kind)
    KvfpgaError.__init__(error, failed.message, failed.remedy)
    for name, value in failed.fields.items():
        setattr(error, name, value)
    return error


# ---- addresses ---------------------------------------------------------------------------------------------------------
def socket_path(address: str) -> Path | None:
    """The file of unix:PATH, absolute; None for tcp://HOST:PORT. UsageError for anything else."""
    if address.startswith("unix:"):
        name = address[5:]
        if not name or "\0" in name:
            raise UsageError(f"{address}: not a path", "unix:PATH, such as unix:/run/user/1000/kvfpga.sock")
        path = Path(os.path.abspath(name))
        if len(os.fsencode(path)) > PATH_BYTES:
            raise UsageError(f"{path} is too long for the address of a socket ({PATH_BYTES} bytes)", "use a shorter path")
        return path
    host_and_port(address)
    return None


def host_and_port(address: str) -> tuple[str, int]:
    """Of tcp://HOST:PORT; HOST may be *, a name, or an address, IPv6 in brackets."""
    found = re.fullmatch(r"tcp://(\*|[\w.-]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\]):([0-9]{1,5})", address)
    if not found or int(found[2]) > 65535:
        such = "such as tcp://lab3:7300, or tcp://*:7300 to serve at"
        raise UsageError(f"{address}: no such address", f"unix:PATH or tcp://HOST:PORT, {such}")
    return found[1].strip("[]"), int(found[2])


class Endpoint(NamedTuple):
    """Of tcp://HOST:PORT, once the host's name was looked up: as ZeroMQ takes it, and whether it is IPv6."""

    text: str
    is_ipv6: bool


def tcp_endpoint(address: str, listen: bool = False) -> Endpoint:
    """TargetError where the name is unknown."""
    host, port = host_and_port(address)
    if host == "*":
        if not listen:
            raise UsageError(f"{address}: whose address?", "* is for the server; name its host")
        return Endpoint(f"tcp://*:{port}", False)
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise TargetError(f"{address}: {error.strerror or error}", "is the host's name right?") from None
    v6 = family == socket.AF_INET6
    return Endpoint(f"tcp://[{place[0]}]:{port}" if v6 else f"tcp://{place[0]}:{port}", v6)
