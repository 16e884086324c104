"""vLLM's KV-cache events as they come over the wire: ZeroMQ frames in, typed events out.

A server started with `--kv-events-config` publishes what its prefix cache does. docs/vllm.md describes the format with the
versions it was read from; in short, a message is three frames: topic, sequence number (8 bytes, big endian, unsigned), and one
msgpack batch: time, events, data-parallel rank. Batch and events are each either positional arrays or maps, depending on the
release; all four combinations are accepted. What the mirror does not use may be missing, and may be anything.

    message = split(frames)
    batch = decode(message.payload)
    for event in batch.events: ...        # Stored | Removed | Cleared | Unread

What does not have this form raises `WireError`. A single event that cannot be read, or is of a kind that is not known, does not:
it becomes `Unread`, which says as much as can be known of whom it concerns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from ...contract.errors import TargetError
from ...contract.wording import counted

if TYPE_CHECKING:
    from typing import TypeVar

    from msgspec.msgpack import Decoder

    Kind = TypeVar("Kind", bound=msgspec.Struct)

SEQUENCE_BYTES = 8
END = (-1).to_bytes(SEQUENCE_BYTES, "big", signed=True)
"""Where a replay has a sequence number, this one ends it."""

GPU = "GPU"
"""The medium of events that name none: their release knows no other."""

LATEST = 1e11
"""Seconds since 1970, three thousand years: what is beyond is no time."""

Hash = int | bytes
"""How a publisher names a block's content: the low 64 bits, here never negative, or the whole digest."""


class WireError(TargetError):
    """A message that is not what a publisher of KV-cache events sends."""


class Stored(NamedTuple):
    """Blocks are in the cache now, each following the one before it in its chain; `parent` (None: the chain begins here) is the
    one before the first. `block_size` in tokens; 0 where the publisher does not say. `reused`: the publisher says that these are
    no further copies, a request has only found them in the cache. `remote`: they are in another engine's."""

    hashes: list[Hash]
    parent: Hash | None
    block_size: int
    medium: str
    group: int
    reused: bool = False
    remote: bool = False


class Removed(NamedTuple):
    """Blocks have left the cache. `remaining`: how many copies of each are left, where the publisher says so."""

    hashes: list[Hash]
    medium: str
    group: int
    remaining: list[int] | None = None
    remote: bool = False


class Cleared(NamedTuple):
    """Nothing is in `medium` any more (None: nothing at all). `partly`: only what one owner had there, and nobody says what."""

    medium: str | None = None
    partly: bool = False


class Unread(NamedTuple):
    """An event that may have removed blocks. `media`: those that it names; none of them: it may be about any. `why` it cannot be
    read; None: its kind is not known."""

    kind: str
    media: frozenset[str]
    why: str | None = None


Event = Stored | Removed | Cleared | Unread


class Batch(NamedTuple):
    """The events of one scheduler step, the data-parallel rank of the engine, and when it published them, in seconds; both where
    it is said."""

    events: list[Event]
    rank: int | None
    ts: float | None


class Message(NamedTuple):
    """What was published under a number. `topic` None: a replay that does not repeat it."""

    topic: bytes | None
    seq: int
    payload: bytes


# ---- the wire ----------------------------------------------------------------------------------------------------------
# Field names and their order are vLLM's. The type of what is not used stays open, so that it may change.

_Hash = int | Annotated[bytes, Meta(min_length=1, max_length=64)]
_Number = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]


class _Batch(msgspec.Struct):
    ts: object = None
    events: list[msgspec.Raw] | None = None
    data_parallel_rank: _Number | None = None


class _Event(msgspec.Struct):
    type: str


class _Stored(_Event):
    block_hashes: list[_Hash]
    parent_block_hash: _Hash | None = None
    token_ids: msgspec.Raw = msgspec.Raw(b"\xc0")  # left as it lies: most of a message
    block_size: _Number | None = None
    lora_id: object = None
    medium: str | None = None
    lora_name: object = None
    extra_keys: object = None
    group_idx: _Number | None = None
    origin: object = None
    locality: object = None

    def event(self) -> Stored:
        parent = None if self.parent_block_hash is None else _name(self.parent_block_hash)
        return Stored(
            _names(self.block_hashes), parent, self.block_size or 0, _medium(self.medium), self.group_idx or 0,
            self.origin == "REUSED", self.locality == "REMOTE",
        )  # fmt: skip


class _Removed(_Event):
    block_hashes: list[_Hash]
    medium: str | None = None
    group_idx: _Number | None = None
    remaining_copy_counts: object = None
    locality: object = None

    def event(self) -> Removed:
        remaining = _counts(self.remaining_copy_counts, len(self.block_hashes))
        return Removed(
            _names(self.block_hashes), _medium(self.medium), self.group_idx or 0, remaining, self.locality == "REMOTE"
        )


class _Cleared(_Event):
    medium: str | None = None
    ownership: object = None

    def event(self) -> Cleared:
        return Cleared(self.medium and self.medium.upper(), self.ownership is not None)


class _TierCleared(_Cleared):
    medium: str

    def event(self) -> Cleared:
        return Cleared(self.medium.upper(), self.ownership is not None)


def _name(found: Hash) -> Hash:
    """Publishers write the same 64 bits with a sign or without."""
    return found & 0xFFFF_FFFF_FFFF_FFFF if isinstance(found, int) else found


def _names(found: list[Hash]) -> list[Hash]:
    return [_name(one) for one in found]


_COUNTS = range(1 << 16)
"""More copies of one block than any cache has places are not believed."""


def _counts(found: object, number: int) -> list[int] | None:
    if isinstance(found, list) and len(found) == number and all(count in _COUNTS for count in found):
        return found
    return None


def _medium(name: str | None) -> str:
    return name.upper() if name else GPU


_EventType = _Stored | _Removed | _Cleared | _TierCleared
_KINDS: dict[str, type[_EventType]] = {
    "BlockStored": _Stored, "BlockRemoved": _Removed, "AllBlocksCleared": _Cleared, "TierBlocksCleared": _TierCleared,
}  # fmt: skip


class _Form:
    """The decoders for one of the two forms, maps or positional arrays."""

    def __init__(self, array_like: bool):
        def decoder(kind: type[Kind]) -> Decoder[Kind]:
            form: type[Kind] = type(kind.__name__, (kind,), {}, array_like=True) if array_like else kind
            return msgspec.msgpack.Decoder(form)

        self.batch = decoder(_Batch)
        self.kind = decoder(_Event)
        self.events: dict[str, Decoder[Any]] = {name: decoder(kind) for name, kind in _KINDS.items()}


_MAPS, _ARRAYS = _Form(array_like=False), _Form(array_like=True)


def _form(data: bytes | memoryview) -> _Form:
    """By the first byte: fixmap, map 16 and map 32, or anything else, which the decoder for arrays judges."""
    first = bytes(data[:1])
    return _MAPS if b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf") else _ARRAYS


# msgspec says ValueError of text that is not UTF-8, RecursionError of arrays nested beyond measure, TypeError of maps as keys
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError, TypeError)


def decode(payload: bytes) -> Batch:
    """The batch of a message's last frame; WireError where it is none."""
    try:
        found = _form(payload).batch.decode(payload)
        if found.events is None:
            raise ValueError("it has no events")
    except _UNREADABLE as error:
        raise WireError(
            f"a message of {counted(len(payload), 'byte')} is not a batch of KV-cache events: {error}",
            "see docs/vllm.md for the format; is something else publishing on this endpoint?",
        ) from error
    return Batch([_event(raw) for raw in found.events], found.data_parallel_rank, _time(found.ts))


def _time(found: object) -> float | None:
    return float(found) if isinstance(found, (int, float)) and abs(found) < LATEST else None


def _event(raw: msgspec.Raw) -> Event:
    kind = "an event without a kind"
    try:
        form = _form(memoryview(raw))
        kind = form.kind.decode(raw).type
        decoder = form.events.get(kind)
        if decoder is None:
            return Unread(kind, _media(raw, kind))
        event: Event = decoder.decode(raw).event()
        return event
    except _UNREADABLE as error:
        return Unread(kind, _media(raw, kind), str(error))


def _media(raw: msgspec.Raw, kind: str) -> frozenset[str]:
    """The media that an event names which could not be read otherwise."""
    try:
        found = msgspec.msgpack.decode(raw)
    except _UNREADABLE:
        return frozenset()
    named: list[object] = []
    if isinstance(found, dict):
        named = [found.get(key) for key in ("medium", "from", "to")]
    elif isinstance(found, list) and kind in _KINDS:
        at = _KINDS[kind].__struct_fields__.index("medium")
        named = found[at : at + 1]
    return frozenset(name.upper() for name in named if isinstance(name, str))


def split(frames: Sequence[bytes]) -> Message:
    """A published message by its frames."""
    if len(frames) != 3 or len(frames[1]) != SEQUENCE_BYTES:
        raise WireError(f"a message with {_sizes(frames)}, where topic, sequence number (8) and batch belong")
    return Message(frames[0], int.from_bytes(frames[1], "big"), frames[2])


def split_reply(frames: Sequence[bytes]) -> Message | None:
    """The same for one message of a replay: an empty delimiter, the topic (left out by older releases), sequence number, payload.
    None for its end."""
    if len(frames) not in (3, 4) or frames[0] or len(frames[-2]) != SEQUENCE_BYTES:
        raise WireError(
            f"a replay answers with {_sizes(frames)}, where an empty delimiter, topic, sequence number (8) and batch belong"
        )
    if frames[-2] == END:
        return None
    return Message(frames[1] or None if len(frames) == 4 else None, int.from_bytes(frames[-2], "big"), frames[-1])


def _sizes(frames: Sequence[bytes]) -> str:
    sizes = ", ".join(str(len(frame)) for frame in frames[:8])
    return f"frames of {sizes} bytes{', …' if len(frames) > 8 else ''}"


def request(start: int) -> list[bytes]:
    """The frames that ask for all batches from `start` on that the publisher still has."""
    return [b"", start.to_bytes(SEQUENCE_BYTES, "big")]
