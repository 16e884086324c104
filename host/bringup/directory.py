"""Step 4: a march over the directory. It is read-only for the host, so LOAD fills it and UNLOAD empties it.

Twice, with complementary contents: every entry gets fields made from its index, is read back through both windows of BAR2
and compared with what the reference model holds after the same commands; the second time all are also pinned and shared
until ref_count is 255. Then they are freed, and must read as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..contract.commands import Command, Hot, Load, Release, Result, Share, Step, Unload
from ..contract.wording import counted
from ..device.entries import decode_entries
from ..device.regmap import ENTRY_FIELDS
from ..hepc_ref import ReferenceModel, reference_of
from .bench import Bench, Finding
from .diagnosis import address_bits, name_bits, pattern, stuck_bits, stuck_text

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

SMALL, SAMPLE = 4096, 1024
"""Directories up to SMALL entries are marched over whole, of larger ones SAMPLE entries."""
BATCH = 128
SHARES = 255
EVERYTHING = (0, (1 << 64) - 1)
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1

STORAGE = "block RAM of the directory: timing report of the build; the bitstream"
WINDOW = "BAR2 window: its offset and size, address lines of the register bus, CAP_ENTRIES of the build"


def run(bench: Bench) -> None:
    entries = bench.device.entries
    wanted = bench.options.directory_entries
    count = min(entries, (entries if entries <= SMALL else SAMPLE) if wanted is None else wanted)
    for number, (name, inverted) in enumerate((("march, first half", False), ("march, complement", True))):
        bench.tick(number, 2)
        _half(bench, name, count, inverted)


def _half(bench: Bench, name: str, count: int, inverted: bool) -> None:
    identity = bench.device.identity
    model = reference_of(identity.parameters)
    bench.reset()
    findings = _both(bench, model, bench.place_tiers())
    findings += _both(bench, model, [Step(MASK32 - 0x5555 if inverted else 0x5555)])
    findings += _both(bench, model, contents(identity.entries, count, identity.block_tokens, inverted))
    if inverted:
        findings += _both(bench, model, [Hot(*EVERYTHING), *[Share(*EVERYTHING)] * SHARES])
    findings += _compare(bench, model, count, "filled")
    if inverted:
        findings += _both(bench, model, [Release(*EVERYTHING)] * SHARES)
    findings += _both(bench, model, [Unload(*EVERYTHING)])
    findings += _compare(bench, model, count, "freed")
    some = f"{count:,} entries" + (f" of {identity.entries:,}" if count < identity.entries else "")
    bench.conclude(name, f"{some} filled, read back in both windows, freed", findings, entries=count)


def contents(entries: int, count: int, block_tokens: int, inverted: bool) -> list[Load]:
    """LOADs whose fields follow from the index; `inverted` gives their complements. No two have the same key."""
    flip = MASK64 if inverted else 0
    loads = []
    for index, word in enumerate(pattern(np.arange(count)).tolist()):
        request = (index * 0x9E37 ^ flip) & 0xFFFF  # odd factor: all different
        place = word ^ flip
        start = (place >> 16 & MASK32) // block_tokens * block_tokens
        end = start + (place >> 8) % block_tokens
        va = pattern(np.array([index + entries])).item() ^ flip
        loads.append(Load(request, place & 0xFF, place >> 48 & 0xFF, start, end, va, place >> 56 & 3))
    return loads


def _both(bench: Bench, model: ReferenceModel, commands: Sequence[Command]) -> list[Finding]:
    """Run on device and model; what the device answers must be what the model does."""
    findings = []
    for first in range(0, len(commands), BATCH):
        part = commands[first : first + BATCH]
        bench.tick(first, len(commands))
        for command, result in zip(part, bench.device.execute_many(part)):
            expected = model.execute(command)
            if (result.code, result.index, result.matched) != (expected.code, expected.index, expected.matched):
                findings.append(
                    Finding(
                        f"{command.name} answered {_result(result)}, expected {_result(expected)}",
                        f"free map and key index of the directory; {STORAGE}",
                    )
                )  # fmt: skip
    return findings[:1]


def _result(result: Result) -> str:
    return f"{result.code}, matched {result.matched}" + (f", entry {result.index}" if result.index is not None else "")


def _compare(bench: Bench, model: ReferenceModel, count: int, state: str) -> list[Finding]:
    """The entries [0, count), and where there are more, those that an aliasing address line would show there."""
    entries = bench.device.entries
    findings = _diagnose(bench.device.read_entries(0, count), model.read_entries(0, count), 0, state)
    index = 1 << (count - 1).bit_length()
    while index < entries and not findings:
        findings += _diagnose(bench.device.read_entries(index, index + 1), model.read_entries(index, index + 1), index, state)
        index *= 2
    return findings


def _diagnose(
    read: tuple[NDArray[np.uint32], NDArray[np.uint64]], expected: tuple[NDArray[np.uint32], NDArray[np.uint64]],
    first: int, state: str,
) -> list[Finding]:  # fmt: skip
    (raw, vas), (expected_raw, expected_vas) = read, expected
    findings = []
    wrong = np.flatnonzero((raw != expected_raw).any(axis=1))
    if wrong.size:
        findings.append(_entries_finding(raw, expected_raw, wrong, first, state))
    wrong = np.flatnonzero(vas != expected_vas)
    if wrong.size:
        text = f"{state}: {wrong.size:,} of {vas.size:,} host addresses wrong, the first of entry {first + wrong[0]}"
        alias = _alias(vas[:, None], expected_vas[:, None], wrong)
        stuck = stuck_text(stuck_bits(expected_vas[wrong], vas[wrong]))
        findings.append(Finding(f"{text}: {alias or stuck or 'no pattern'}", WINDOW if alias else STORAGE))
    return findings


def _entries_finding(
    raw: NDArray[np.uint32], expected: NDArray[np.uint32], wrong: NDArray[np.intp], first: int, state: str
) -> Finding:
    text = f"{state}: {wrong.size:,} of {len(raw):,} entries wrong, the first {first + wrong[0]}"
    alias = _alias(raw, expected, wrong)
    if alias:
        return Finding(f"{text}: {alias}", WINDOW)
    read, should = decode_entries(raw[wrong]), decode_entries(expected[wrong])
    parts = []
    for name in ENTRY_FIELDS:
        differ = read[name] != should[name]
        if differ.any():
            stuck = stuck_bits(should[name][differ], read[name][differ])
            bits = stuck_text(stuck) or f"{name_bits(stuck.at_0 | stuck.at_1 | stuck.others)} wrong"
            parts.append(f"{name} {bits}")
    shown = ", ".join(parts[:4]) + (f" and {counted(len(parts) - 4, 'more field')}" if len(parts) > 4 else "")
    return Finding(f"{text}: {shown or 'unused bits are not zero'}", STORAGE)


def _alias(
    read: NDArray[np.unsignedinteger[Any]], expected: NDArray[np.unsignedinteger[Any]], wrong: NDArray[np.intp]
) -> str:
    """Do wrong entries show what belongs to other entries?"""
    owners = {row.tobytes(): index for index, row in enumerate(expected) if row.any()}
    pairs = [(index, owners[row.tobytes()]) for index, row in zip(wrong.tolist(), read[wrong]) if row.tobytes() in owners]
    if len(pairs) < max(1, len(wrong) // 2):
        return ""
    bits = address_bits(*zip(*pairs))
    return f"entry {pairs[0][0]} shows entry {pairs[0][1]}" + (f", index {bits}" if bits else "")
