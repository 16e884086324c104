"""Frames of the UART bridge's protocol (docs/uart-bridge.md): stuffing, CRC, and a decoder that is fed as bytes come.

    encode(Frame(HELLO, session, 0, body))      what goes onto the line
    decoder.feed(chunk)                         the frames that this chunk completes; None for each that came damaged
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

FLAG, ESCAPE = b"\x7e", b"\x7d"
STUFFED = ((FLAG, b"\x7d\x5e"), (ESCAPE, b"\x7d\x5d"))
HEADER_BYTES, CRC_BYTES = 4, 4
LEAST_BYTES = HEADER_BYTES + CRC_BYTES
OVERHEAD = 2 + LEAST_BYTES
"""Bytes of a frame beside its body, where nothing had to be stuffed."""

HELLO, RUN, STATS = 0x01, 0x02, 0x03
REPLY = 0x80
"""Added to a request's kind in its reply."""
NAK = 0x9F


class Frame(NamedTuple):
    """`session`: 16 bits. `sequence`: 8 bits."""

    kind: int
    session: int
    sequence: int
    body: bytes = b""


def encode(frame: Frame) -> bytes:
    content = bytes((frame.kind, frame.session & 0xFF, frame.session >> 8, frame.sequence)) + frame.body
    content += crc32(content).to_bytes(4, "little")
    for plain, stuffed in reversed(STUFFED):  # the escape first: the other one brings new escapes
        content = content.replace(plain, stuffed)
    return FLAG + content + FLAG


def decode(stuffed: bytes) -> Frame | None:
    """What came between two flags; None where it is damaged."""
    # Every escape in it begins a pair, and no pair ends in one, so pairs can be replaced kind by kind.
    if stuffed.count(ESCAPE) != sum(stuffed.count(pair) for _, pair in STUFFED):
        return None
    content = stuffed
    for plain, pair in STUFFED:
        content = content.replace(pair, plain)
    if len(content) < LEAST_BYTES or crc32(content[:-CRC_BYTES]) != int.from_bytes(content[-CRC_BYTES:], "little"):
        return None
    return Frame(content[0], content[1] | content[2] << 8, content[3], content[HEADER_BYTES:-CRC_BYTES])


class Decoder:
    """Cuts a stream of bytes into frames. What comes before the first flag is nobody's, and not damage.

    `limit`: a frame that has not ended after so many bytes is damaged (noise must not fill the memory).
    """

    def __init__(self, limit: int = 1 << 18):
        self.limit = limit
        self._inside = False
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Frame | None]:
        """Bytes as they come. The frames that end in them, in order."""
        *ended, rest = (self._rest + chunk).split(FLAG)
        frames = []
        for stuffed in ended:
            if stuffed and self._inside:
                frames.append(decode(stuffed))
            self._inside = True
        if len(rest) > self.limit:
            if self._inside:
                frames.append(None)
            self._inside, rest = False, b""
        self._rest = rest
        return frames

    @property
    def unfinished(self) -> int:
        """How many bytes have come of a frame whose end has not."""
        return len(self._rest) if self._inside else 0
