"""Where device and reference model differ: results, entries field by field, bytes of blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..contract import script
from ..contract.commands import Command, Result, Scores, Trigger
from ..device.entries import decode_entries
from .report import Difference

if TYPE_CHECKING:
    from ..device.device import Device
    from ..hepc_ref import ReferenceModel

ENTRIES_SHOWN = 16
"""Entries that a report takes apart; more rarely say more."""
BLOCKS_AT_ONCE = 512
"""Blocks compared in one go: 8 MiB from each side."""


class Comparison:
    """Looks for what differs between `device` and `model`, both idle, and changes neither."""

    def __init__(self, device: Device, model: ReferenceModel):
        self.device = device
        self.model = model

    def entries_behind(self, digest: int | None, expected: int | None, register: str = "digest") -> list[Difference]:
        """`register` shows another digest than expected. Bisect by DIGEST ranges to the entries that differ now, and take those
        apart field by field."""
        found = [Difference("digest", register, digest, expected)]
        if self.device.digest() == self.model.digest():
            return found
        pending = [(0, self.device.entries)]
        indices: list[int] = []
        while pending and len(indices) < ENTRIES_SHOWN:
            lo, hi = pending.pop()
            middle = (lo + hi) // 2
            halves = [(a, b) for a, b in ((lo, middle), (middle, hi)) if b > a]
            wrong = [(a, b) for a, b in halves if self.device.digest(a, b) != self.model.digest(a, b)]
            if not wrong:
                found.append(Difference("digest", f"digest of [{lo}, {hi})", "not the sum of its halves", "their sum"))
            indices += [a for a, b in wrong if b == a + 1]
            pending += [(a, b) for a, b in reversed(wrong) if b > a + 1]
        for index in sorted(indices):
            fields = self.entries(index, index + 1)
            found += fields or [Difference(f"entry {index}", "digest", "differs though every field agrees", "the same")]
        return found

    def entries(self, lo: int, hi: int) -> list[Difference]:
        """Fields and va of the entries [lo, hi) that differ."""
        device, device_vas = self.device.read_entries(lo, hi)
        model, model_vas = self.model.read_entries(lo, hi)
        wrong = np.flatnonzero((device != model).any(axis=1) | (device_vas != model_vas))[:ENTRIES_SHOWN]
        if not wrong.size:
            return []
        left, right = decode_entries(device[wrong]), decode_entries(model[wrong])
        left["va"], right["va"] = device_vas[wrong], model_vas[wrong]
        found = []
        for row, index in enumerate(wrong.tolist()):
            one, other = ({name: int(column[row]) for name, column in side.items()} for side in (left, right))
            fields = differing(f"entry {lo + index}", one, other)
            found += fields or [Difference(f"entry {lo + index}", "unused bits", "not zero", "zero")]
        return found

    def tables(self) -> list[Difference]:
        """Codes of PTABLE that differ, in both banks (R45)."""
        device, model = self.device.read_tables(), self.model.tables
        wrong = np.argwhere(device != model)[:ENTRIES_SHOWN].tolist()
        return [
            Difference(f"PTABLE bank {bank}, class {number}", f"bucket {bucket}", int(device[place]), int(model[place]))
            for place in map(tuple, wrong)
            for bank, number, bucket in [place]
        ]

    def queries(self) -> list[Difference]:
        """Values of the query buffer that differ, as bits (R30)."""
        if not self.device.nmce:
            return []
        device, model = self.device.read_queries(), self.model.queries
        wrong = np.argwhere(device != model)[:ENTRIES_SHOWN].tolist()
        return [
            Difference(f"query in slot {slot}", f"value {number}", f"{device[slot, number]:#06x}", f"{model[slot, number]:#06x}")
            for slot, number in wrong
        ]

    def blocks(
        self, blocks: Sequence[tuple[int, int]], progress: Callable[[int], None] | None = None
    ) -> list[Difference]:
        """Bytes of (tier, index) slots. At most ENTRIES_SHOWN blocks are reported. None where the target does not show bytes."""
        found: list[Difference] = []
        if not self.device.mmio.reaches_memory:
            return found
        for first in range(0, len(blocks), BLOCKS_AT_ONCE):
            part = blocks[first : first + BLOCKS_AT_ONCE]
            addresses = [self.model.slot_address(*place) for place in part]
            device = self.device.mmio.memory_read_blocks(np.array(addresses, np.uint64), self.device.block_bytes)
            expected = np.frombuffer(b"".join(self.model.block_content(*place) for place in part), np.uint8)
            expected = expected.reshape(device.shape)
            differ = (device.view(np.uint64) != expected.view(np.uint64)).any(axis=1)  # words, for most often there is none
            for row in np.flatnonzero(differ)[: ENTRIES_SHOWN - len(found)].tolist():
                tier, index = part[row]
                wrong = device[row] != expected[row]
                offset, count = int(wrong.argmax()), int(wrong.sum())
                piece = slice(offset, offset + 8)
                found.append(
                    Difference(
                        f"bytes of block {index} in tier {tier}",
                        f"{count} differ, from byte {offset:#x}",
                        device[row, piece].tobytes().hex(" "),
                        self.model.block_content(tier, index)[piece].hex(" "),
                    )  # fmt: skip
                )
            if progress:
                progress(len(part))
        return found


def differing(where: str, device: Mapping[str, object], expected: Mapping[str, object]) -> list[Difference]:
    """The keys of `expected` whose values differ. The device may know more (what depends on time is not compared)."""
    if device == expected:
        return []
    return [
        Difference(where, name, device.get(name), value)
        for name, value in expected.items()
        if device.get(name) != value
    ]


def differing_results(commands: Sequence[Command], device: list[Result], expected: list[Result]) -> list[Difference]:
    found = []
    for number, (command, one, other) in enumerate(zip(commands, device, expected)):
        if one != other:
            where = "result" if len(commands) == 1 else f"result {number} ({script.line(command)})"
            for name in ("code", "matched", "index", "tier", "phys_addr"):
                if getattr(one, name) != getattr(other, name):
                    found.append(Difference(where, name, getattr(one, name), getattr(other, name)))
            if one.scores != other.scores:
                found += _differing_scores(where, one.scores, other.scores)
            if one.triggers != other.triggers:
                found += _differing_triggers(where, one.triggers, other.triggers)
    return found


def _differing_scores(where: str, device: Scores | None, expected: Scores | None) -> list[Difference]:
    """The rows that differ, or that only one side computed anything."""
    if device is None or expected is None:
        return [Difference(where, "scores", *("none" if side is None else "some" for side in (device, expected)))]
    found = []
    for name, one, other in zip(Scores._fields, device, expected):
        if not isinstance(one, tuple) or not isinstance(other, tuple):
            found += [Difference(where, name, _bits(one), _bits(other))] if one != other else []
        else:
            rows = ((row, *bits) for row, bits in enumerate(zip(one, other)) if bits[0] != bits[1])
            found += [Difference(where, f"{name} of row {row}", _bits(left), _bits(right)) for row, left, right in rows]
    return found[:ENTRIES_SHOWN]


def _bits(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) else "some" if value else "none"


def _differing_triggers(where: str, device: tuple[Trigger, ...], expected: tuple[Trigger, ...]) -> list[Difference]:
    """The triggers that only one side has; where both have the same ones, their order differs."""
    only_device, only_model = set(device) - set(expected), set(expected) - set(device)
    rows = [(t, _text(t), "none") for t in only_device] + [(t, "none", _text(t)) for t in only_model]
    found = [Difference(where, f"trigger of {t.index}", one, other) for t, one, other in sorted(rows)[:ENTRIES_SHOWN]]
    return found or [Difference(where, "triggers", f"{len(device)} in another order", f"{len(expected)}")]


def _text(trigger: Trigger) -> str:
    return f"{trigger.channel} {trigger.from_tier}→{trigger.to_tier}"
