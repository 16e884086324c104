"""vLLM's KV-cache events as they come over the wire: ZeroMQ frames in, typed events out.

A vLLM server started with `--kv-events-config` publishes what its prefix cache does. docs/vllm.md describes the format with the
versions it was read from; in short, a message is three frames: topic, sequence number (8 bytes, big endian, unsigned), and one
msgpack batch: time, events, data-parallel rank. Batch and events are each either positional arrays or maps, depending on the
release; all four combinations are accepted, and fields that this file does not know are skipped.

    seq, payload = split(frames)
    batch = decode(payload)
    for event in batch.events: ...        # Stored | Removed | Cleared

What does not have this form raises `WireError`; an event of an unknown kind does not (newer releases have more of them), it is
counted in `Batch.unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

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

Hash = int | bytes
"""How a publisher names a block's content: the low 64 bits (most releases), or the whole digest."""


class WireError(TargetError):
    """A message that is not what a publisher of KV-cache events sends."""


class Stored(NamedTuple):
    """Blocks are in the cache now, each following the one before it in its chain; `parent` (None: the chain begins here) is the
    one before the first. `block_size` in tokens; 0 where the publisher does not say. `medium` None: a release that knows only
    the GPU."""

    hashes: list[Hash]
    parent: Hash | None
    block_size: int
    medium: str | None
    group: int


class Removed(NamedTuple):
    """Blocks have left the cache."""

    hashes: list[Hash]
    medium: str | None
    group: int


class Cleared(NamedTuple):
    """Nothing is in the cache any more."""


Event = Stored | Removed | Cleared


class Batch(NamedTuple):
    """The events of one scheduler step. `time` in seconds since 1970, `rank` of the data-parallel engine. `unknown`: events of
    kinds that are not known here."""

    time: float
    events: list[Event]
    rank: int | None
    unknown: int = 0


# ---- the wire ----------------------------------------------------------------------------------------------------------
# Field names and their order are vLLM's. The type of what is not used stays open, so that it may change.

_Hash = int | Annotated[bytes, Meta(min_length=1, max_length=64)]
_Number = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]


class _Batch(msgspec.Struct):
    ts: float
    events: list[msgspec.Raw]
    data_parallel_rank: _Number | None = None


class _Stored(msgspec.Struct):
    type: str
    block_hashes: list[_Hash]
    parent_block_hash: _Hash | None
    token_ids: msgspec.Raw
    block_size: _Number
    lora_id: object = None
    medium: str | None = None
    lora_name: object = None
    extra_keys: object = None
    group_idx: _Number | None = None

    def event(self) -> Stored:
        return Stored(self.block_hashes, self.parent_block_hash, self.block_size, self.medium, self.group_idx or 0)


class _Removed(msgspec.Struct):
    type: str
    block_hashes: list[_Hash]
    medium: str | None = None
    group_idx: _Number | None = None

    def event(self) -> Removed:
        return Removed(self.block_hashes, self.medium, self.group_idx or 0)


class _Cleared(msgspec.Struct):
    type: str

    def event(self) -> Cleared:
        return Cleared()


class _Form:
    """The decoders for one of the two forms, maps or positional arrays."""

    def __init__(self, array_like: bool):
        def decoder(kind: type[Kind]) -> Decoder[Kind]:
            form: type[Kind] = type(kind.__name__, (kind,), {}, array_like=True) if array_like else kind
            return msgspec.msgpack.Decoder(form)

        self.batch = decoder(_Batch)
        self.kind = decoder(_Cleared)  # any event has at least this much
        self.events: dict[str, Decoder[_Stored] | Decoder[_Removed] | Decoder[_Cleared]] = {
            "BlockStored": decoder(_Stored), "BlockRemoved": decoder(_Removed), "AllBlocksCleared": self.kind
        }  # fmt: skip


_MAPS, _ARRAYS = _Form(array_like=False), _Form(array_like=True)


def _form(data: bytes | memoryview) -> _Form:
    """By the first byte: fixmap, map 16 and map 32, or anything else, which the decoder for arrays judges."""
    first = bytes(data[:1])
    return _MAPS if b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf") else _ARRAYS


def decode(payload: bytes) -> Batch:
    """The batch of a message's last frame. WireError where it is none, or one of its known events lacks something."""
    try:
        found = _form(payload).batch.decode(payload)
        events, unknown = [], 0
        for raw in found.events:
            form = _form(memoryview(raw))
            decoder = form.events.get(form.kind.decode(raw).type)
            if decoder is None:
                unknown += 1
            else:
                events.append(decoder.decode(raw).event())
    # msgspec says ValueError of text that is not UTF-8, RecursionError of arrays nested beyond measure
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(
            f"a message of {counted(len(payload), 'byte')} is not a batch of KV-cache events: {error}",
            "see docs/vllm.md for the format; is something else publishing on this endpoint?",
        ) from error
    return Batch(found.ts, events, found.data_parallel_rank, unknown)


def split(frames: Sequence[bytes]) -> tuple[int, bytes]:
    """Sequence number and payload of a published message."""
    if len(frames) != 3 or len(frames[1]) != SEQUENCE_BYTES:
        sizes = ", ".join(str(len(frame)) for frame in frames[:8])
        raise WireError(
            f"a message with frames of {sizes} bytes{', …' if len(frames) > 8 else ''}, where topic, sequence number (8) "
            "and batch belong"
        )
    return int.from_bytes(frames[1], "big"), frames[2]


def split_reply(frames: Sequence[bytes]) -> tuple[int, bytes] | None:
    """The same for one message of a replay (empty delimiter, sequence number, payload); None for its end."""
    if len(frames) != 3 or frames[0] or len(frames[1]) != SEQUENCE_BYTES:
        found = counted(len(frames), "frame")
        raise WireError(f"a replay answers with {found}, where delimiter, sequence number and batch belong")
    if frames[1] == END:
        return None
    return int.from_bytes(frames[1], "big"), frames[2]


def request(start: int) -> list[bytes]:
    """The frames that ask for all batches from `start` on that the publisher still has."""
    return [b"", start.to_bytes(SEQUENCE_BYTES, "big")]
