"""Step 3: the memory behind the four tiers, through the host's way into it. Their contents are lost.

First the address lines: a word of its own at every power-of-two offset within each tier's window
[TIER_BASE, + ENTRIES * BLOCK_BYTES), which shows lines that alias, and tiers that share memory. Then byte lanes: single
bytes and odd pieces, each of which must leave its neighbours alone. Then a march C- over the windows, or over samples of
them: up(w0) up(r0,w1) up(r1,w0) down(r0,w1) down(r1,w0) down(r0), where 0 is a word made from its address and 1 its
complement. An element is done a chunk at a time, all tiers in one sweep.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..contract.errors import TargetError
from ..contract.wording import counted
from .bench import Bench, Finding
from .diagnosis import (
    MOST,
    Stuck,
    address_bits,
    address_of,
    beats,
    dead_lanes,
    lane_order,
    name_bits,
    pattern,
    stuck_bits,
    stuck_text,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORD = 8
CHUNK = 1 << 16
ELEMENTS = ((1, None, 0), (1, 0, 1), (1, 1, 0), (-1, 0, 1), (-1, 1, 0), (-1, 0, None))
"""March C-: (direction, value expected, value written)."""
SAMPLES = 4096
"""Wrong words that are kept of each tier; all are counted."""

LINES = "address lines of the memory: its controller's address mapping, width of the AXI address, TIER_BASE"
BASES = "TIER_BASE and the size of the memory: the windows must lie in it side by side; width of the AXI address"
DATA = "data line of the memory: pin, termination, DDR calibration, or one of the width converters"
LANES = "byte lanes: wiring (DQS groups), write strobes (WSTRB), endianness of the host's path"
NOISE = "DDR calibration, clock and timing of the memory controller; the link (step link)"
BEYOND = "TIER_BASE + ENTRIES * BLOCK_BYTES against the size of the memory; DDR calibration not done"


class Tier(NamedTuple):
    """A tier's window."""

    number: int
    base: int
    size: int

    def holds(self, address: int) -> bool:
        return self.base <= address < self.base + self.size


class Errors:
    """Wrong words of one tier."""

    def __init__(self) -> None:
        self.count = 0
        self.words = 0
        """Words that were read."""
        self.kept: list[tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]] = []
        self.broken: TargetError | None = None

    def compare(self, addresses: NDArray[np.uint64], expected: NDArray[np.uint64], read: NDArray[np.uint64]) -> None:
        self.words += addresses.size
        wrong = np.flatnonzero(expected != read)
        if wrong.size:
            self.count += wrong.size
            wrong = wrong[: max(0, SAMPLES - sum(len(kept[0]) for kept in self.kept))]
            self.kept.append((addresses[wrong], expected[wrong], read[wrong]))

    def arrays(self) -> tuple[NDArray[np.uint64], ...]:
        """Addresses, expected, read."""
        return tuple(np.concatenate(column) for column in zip(*self.kept))


def run(bench: Bench) -> None:
    bench.reset()
    identity = bench.device.identity
    tiers = [Tier(n, base, identity.entries * identity.block_bytes) for n, base in enumerate(bench.tier_bases)]
    address_lines(bench, tiers)
    byte_lanes(bench, tiers)
    march(bench, tiers)


# ---- address lines -------------------------------------------------------------------------------------------------
def address_lines(bench: Bench, tiers: list[Tier]) -> None:
    findings = [Finding(f"tiers {a.number} and {b.number} overlap: TIER_BASE {a.base:#x} and {b.base:#x}", BASES)
                for a, b in combinations(tiers, 2) if abs(a.base - b.base) < a.size]  # fmt: skip
    addresses = []
    for tier in tiers:
        offsets = [0, *(1 << bit for bit in range(3, tier.size.bit_length() - 1)), tier.size - WORD]
        places = np.array([tier.base + offset for offset in offsets], np.uint64)
        try:
            for address, word in zip(places.tolist(), pattern(places).astype("<u8")):
                bench.mmio.memory_write(address, word.tobytes())
            addresses.append(places)
        except TargetError as error:
            bench.survive(error)
            findings.append(Finding(f"tier {tier.number}: {error.message}", BEYOND))
    if addresses:
        every = np.concatenate(addresses)
        try:
            read = bench.mmio.memory_read_blocks(every, WORD).reshape(-1).view("<u8")
            findings += _aliases(tiers, every, read)
        except TargetError as error:
            bench.survive(error)
            findings.append(Finding(error.message, BEYOND))
    lines = sum(len(places) for places in addresses)
    bench.conclude("address lines", f"{lines} places in {len(tiers)} tiers are apart from each other", findings)


def _aliases(tiers: list[Tier], addresses: NDArray[np.uint64], read: NDArray[np.uint64]) -> list[Finding]:
    expected = pattern(addresses)
    wrong = np.flatnonzero(read != expected)
    shown, known = address_of(read[wrong]).tolist(), set(addresses.tolist())
    pairs = [(a, b) for a, b in zip(addresses[wrong].tolist(), shown) if b in known]
    findings = []
    if pairs:
        crossing = {(_tier(tiers, a).number, _tier(tiers, b).number) for a, b in pairs} - {(n, n) for n in range(len(tiers))}
        bits = address_bits(*zip(*pairs))
        text = f"{pairs[0][0]:#x} shows what was written to {pairs[0][1]:#x}" + (f": {bits} aliases" if bits else "")
        findings.append(Finding(text, LINES))
        if crossing:
            a, b = min(crossing)
            findings.append(Finding(f"tiers {min(a, b)} and {max(a, b)} share memory", BASES))
    others = len(wrong) - len(pairs)
    if others:
        index = next(i for i, b in zip(wrong.tolist(), shown) if b not in known)
        text = f"{int(addresses[index]):#x} reads {int(read[index]):#018x}, not {int(expected[index]):#018x}"
        findings.append(Finding(f"{counted(others, 'word')} wrong: {text}", "the rows of the march"))
    return findings


def _tier(tiers: list[Tier], address: int) -> Tier:
    return next(tier for tier in tiers if tier.holds(address))


# ---- byte lanes ----------------------------------------------------------------------------------------------------
def byte_lanes(bench: Bench, tiers: list[Tier]) -> None:
    """Two beats of every tier: byte by byte, even ones first, then pieces that begin and end anywhere."""
    beat = max(WORD, bench.device.identity.data_bits // 8)
    size, findings = 2 * beat, []
    for tier in tiers:
        shadow = pattern(np.arange(size // WORD) * WORD + tier.base).view(np.uint8).copy()
        rounds = [[(at, 1) for at in range(0, size, 2)], [(at, 1) for at in range(1, size, 2)]]
        rounds.append([(beat - 3, 7), (1, 2), (beat + 3, beat - 5), (size - 1, 1), (0, 5)])
        try:
            bench.mmio.memory_write(tier.base, shadow.tobytes())
            for pieces in rounds:
                for at, length in pieces:
                    shadow[at : at + length] ^= 0xFF
                    bench.mmio.memory_write(tier.base + at, shadow[at : at + length].tobytes())
                read = np.frombuffer(bench.mmio.memory_read(tier.base, size), np.uint8)
                if (read != shadow).any():
                    findings.append(Finding(f"tier {tier.number}: {_lanes(shadow, read, pieces, beat)}", LANES))
                    break
        except TargetError as error:
            bench.survive(error)
            findings.append(Finding(f"tier {tier.number}: {error.message}", BEYOND))
    bench.conclude("byte lanes", f"{beat} lanes written singly and in odd pieces, in each tier", findings)


def _lanes(expected: NDArray[np.uint8], read: NDArray[np.uint8], pieces: list[tuple[int, int]], beat: int) -> str:
    order = lane_order(expected.reshape(-1, WORD), read.reshape(-1, WORD))
    if order:
        return order
    written = np.zeros(expected.size, bool)
    for at, length in pieces:
        written[at : at + length] = True
    wrong = expected != read
    lanes = np.flatnonzero(wrong.reshape(-1, beat).any(axis=0))
    shown = f"byte lane{'s' * (lanes.size > 1)} " + ", ".join(map(str, lanes[:4].tolist())) + (" …" if lanes.size > 4 else "")
    if wrong[~written].any():
        return f"writes of single bytes or odd pieces disturb their neighbours: {shown} changed"
    if (read[wrong] == expected[wrong] ^ 0xFF).all():
        return f"{shown} not written"
    return f"{shown} wrong after writes of single bytes or odd pieces"


# ---- march ---------------------------------------------------------------------------------------------------------
def march(bench: Bench, tiers: list[Tier]) -> None:
    chunks = [(tier, *chunk) for tier in tiers for chunk in pieces(tier, bench.options.memory_bytes)]
    errors = [Errors() for _ in tiers]
    done, total = 0, len(ELEMENTS) * len(chunks)
    for direction, expect, write in ELEMENTS:
        for tier, base, size in chunks[::direction]:
            done += 1
            bench.tick(done, total)
            found = errors[tier.number]
            if found.broken:
                continue
            addresses = np.arange(base, base + size, WORD, dtype=np.uint64)
            word = pattern(addresses)
            try:
                if expect is not None:
                    read = np.frombuffer(bench.mmio.memory_read(base, size), "<u8")
                    found.compare(addresses, ~word if expect else word, read)
                if write is not None:
                    bench.mmio.memory_write(base, (~word if write else word).astype("<u8").tobytes())
            except TargetError as error:
                bench.survive(error)
                found.broken = error
    for tier, found in zip(tiers, errors):
        covered = sum(size for other, _, size in chunks if other is tier)
        share = "all" if covered == tier.size else f"{covered:,} of the"
        text = f"{share} {tier.size:,} bytes at {tier.base:#x}, 10 accesses each"
        findings = diagnose(found, tiers, bench.device.identity.data_bits)
        bench.conclude(f"march, tier {tier.number}", text, findings, bytes=covered, wrong_words=found.count)


def pieces(tier: Tier, limit: int | None) -> Iterator[tuple[int, int]]:
    """(address, size) of the chunks to march over: the whole window, or chunks spread evenly from its start to its end."""
    wanted = tier.size if limit is None else max(WORD, min(limit, tier.size) // WORD * WORD)
    size = min(CHUNK, wanted)
    count = -(-wanted // size)
    room = tier.size - size
    for number in range(count):
        at = number * size if wanted == tier.size else room * number // max(1, count - 1) // WORD * WORD
        yield tier.base + at, min(size, tier.size - at)


def diagnose(errors: Errors, tiers: list[Tier], data_bits: int) -> list[Finding]:
    """The most likely cause of a tier's wrong words."""
    if errors.broken:
        return [Finding(errors.broken.message, BEYOND)]
    if not errors.count:
        return []
    addresses, expected, read = errors.arrays()
    cause, look_at = _cause(addresses, expected, read, tiers, data_bits)
    text = f"{errors.count:,} of {errors.words:,} words wrong"
    first = f"first at {int(addresses[0]):#x}: {int(read[0]):#018x}, not {int(expected[0]):#018x}"
    return [Finding(f"{cause}; {text}, {first}", look_at)]


def _cause(
    addresses: NDArray[np.uint64], expected: NDArray[np.uint64], read: NDArray[np.uint64], tiers: list[Tier], data_bits: int
) -> Finding:
    if (read == ~expected).mean() >= MOST:
        return Finding("writes do not arrive: words keep what was there before", f"write path and strobes; {LINES}")
    origins = np.where((one := address_of(read)) % np.uint64(WORD), address_of(~read), one)
    inside = np.zeros(read.size, bool)
    for tier in tiers:
        inside |= origins - np.uint64(tier.base) < np.uint64(tier.size)  # below the base it wraps around
    inside &= origins % np.uint64(WORD) == 0
    if inside.mean() >= MOST:
        bits = address_bits(addresses[inside].tolist(), origins[inside].tolist())
        example = f"{int(addresses[inside][0]):#x} holds the word of {int(origins[inside][0]):#x}"
        return Finding(f"addresses alias: {bits or 'several address bits'} ({example})", LINES)
    lanes = [np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(-1, WORD) for words in (expected, read)]
    if order := lane_order(*lanes):
        return Finding(order, LANES)
    stuck = stuck_bits(expected, read)
    bad = stuck.at_0 | stuck.at_1 | stuck.others
    if bad.bit_count() <= 2:
        return Finding(f"data {_on_bus(addresses, expected, read, bad, data_bits)}{_level(stuck)}", DATA)
    if dead := dead_lanes(*lanes):
        return Finding(dead, LANES)
    if stuck_text(stuck):
        return Finding(f"data {stuck_text(stuck)}", DATA)
    return Finding("errors without a pattern", NOISE)


def _level(stuck: Stuck) -> str:
    text = stuck_text(stuck)
    return " stuck at 0" if text and not stuck.at_1 else " stuck at 1" if text and not stuck.at_0 else " unreliable"


def _on_bus(
    addresses: NDArray[np.uint64], expected: NDArray[np.uint64], read: NDArray[np.uint64], bad: int, data_bits: int
) -> str:
    """The wrong bits of 64-bit words, and if they are in one word of a wider memory bus only, by their number there."""
    lane = f"byte lane {(bad.bit_length() - 1) // 8}"
    words = [number for number, rows in beats(read, addresses, data_bits) if rows.size]
    if data_bits > 64 and len(words) == 1:
        return f"{name_bits(bad << 64 * words[0])} of the {data_bits}-bit memory bus ({lane} of word {words[0]})"
    return f"{name_bits(bad)} ({lane}) of every 64-bit word"
