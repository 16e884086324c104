"""What a device is asked behind a command, and what the words that come back mean: results, triggers, counters, digests.

Each question is a `Batch` that is joined to others. The answers of many commands are decoded at once, as columns of numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..contract import commands as cmd
from ..contract.commands import EVICT, PREFETCH, Command, Result, Scores, Trigger
from ..contract.errors import DeviceRefused, TargetError
from ..contract.settings import LINEAR, RANKED
from ..transport.mmio import Batch
from .codec import bits, opcode_of
from .regmap import REGISTERS, SCORES, TELEMETRY, Code, Opcode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..transport.mmio import Mmio

RESULT_WORDS = 6
"""RESULT_STATUS to RESULT_CYCLES lie side by side; reading the last one takes the result off its queue."""
CHANNELS = (EVICT, PREFETCH)
"""By their number in a completion record."""
REMEDY = "`kvfpga sync` takes its state as it is, `kvfpga reset` starts it anew"
EXPS, HALVES, LARGEST = 0x400, 0x800, 0xC00
"""Where in SCORES numerators, FP16 scores, and the largest score with the sum behind it begin (D33)."""
SHOWS_PLACE = (cmd.Lookup, cmd.Touch, cmd.Score)
"""Commands whose Result names tier and physical address."""


class State(NamedTuple):
    """What an idle device shows of itself: every counter by its key (R23), and the DIGEST of its whole directory (R24), None
    where that was not asked for."""

    telemetry: dict[str, int]
    digest: int | None


# ---- questions ------------------------------------------------------------------------------------------------------
def _result_questions() -> Batch:
    """Behind a command: wait, then its result and its completion records, with how many there are."""
    batch = Batch()
    batch.wait_idle()
    batch.burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
    batch.read(REGISTERS["COMPLETION_LEVEL"].offset)
    batch.drain(REGISTERS["COMPLETION"].offset)
    return batch


def _telemetry_burst() -> Batch:
    batch = Batch()
    batch.burst(REGISTERS["T_CURRENT_STEP"].offset, 2 * len(TELEMETRY))
    return batch


def _pass_digest_question() -> Batch:
    batch = Batch()
    batch.read64(REGISTERS["PASS_DIGEST"].offset)
    return batch


@cache
def ask_scores(rows: int, numerators: bool) -> Batch:
    """Once a SCORE is done, and before its result, which takes them away: its scores as FP32 and as FP16; where the flag asked
    for `numerators`, them, the largest score and their sum. What a block of `rows` tokens has, and no more: R33 counts it.
    """
    batch = Batch()
    batch.burst(SCORES, rows)
    batch.burst(SCORES + HALVES, rows // 2)
    if numerators:
        batch.burst(SCORES + EXPS, rows)
        batch.burst(SCORES + LARGEST, 2)
    return batch


def ask_digest(lo: int, hi: int) -> Batch:
    """DIGEST over the entries [lo, hi)."""
    batch = Batch()
    batch.write(REGISTERS["DIGEST_FIRST"].offset, lo)
    batch.write(REGISTERS["DIGEST_END"].offset, hi)
    batch.wait_idle()
    batch.burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
    batch.read64(REGISTERS["DIGEST"].offset)
    return batch


def empty_queues(mmio: Mmio) -> None:
    """Take off what nobody has read, of a command that was cut off or another program's: else it is taken for the answer to the
    next command."""
    mmio.wait_idle()
    status = _STATUS["valid"]
    while bits(int(mmio.read_burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)[0]), status):
        pass
    batch = Batch()
    batch.drain(REGISTERS["COMPLETION"].offset)
    mmio.run(batch)


ASK_RESULT, ASK_TELEMETRY, ASK_PASS_DIGEST = _result_questions(), _telemetry_burst(), _pass_digest_question()


# ---- answers --------------------------------------------------------------------------------------------------------
def rows(words: NDArray[np.uint32], places: Sequence[int], width: int) -> NDArray[np.uint32]:
    """uint32[n, width]: the words from each of n places on."""
    found: NDArray[np.uint32] = words[np.array(places, np.intp)[:, None] + np.arange(width)]
    return found


def results_of(
    commands: Sequence[Command], answers: NDArray[np.uint32], records: NDArray[np.uint64], ranked: bool = False
) -> list[Result]:
    """The result of each command from its row of `answers`, with its triggers out of all commands' `records`. `ranked`: is that
    policy in force before the first of them (R40)?"""
    status, matched, phys_low, phys_high, index, cycles, level = answers.T
    _check_status(status, [opcode_of(command) for command in commands])
    triggers = _triggers(records, level, _evict_first(commands, ranked) if records.size else None)
    code, found, tier = (bits(status, _STATUS[name]) for name in ("code", "has_index", "tier"))
    columns = (column.tolist() for column in (code, found, matched, index, tier, phys_low, phys_high, cycles))
    return [_result(command, moved, *values) for command, moved, *values in zip(commands, triggers, *columns)]


def _result(
    command: Command, triggers: tuple[Trigger, ...], code: int, found: int, matched: int, index: int, tier: int, low: int,
    high: int, cycles: int,
) -> Result:  # fmt: skip
    if not found:
        return Result(_CODES[code], matched, None, triggers, cycles=cycles)
    if isinstance(command, SHOWS_PLACE):
        return Result(_CODES[code], matched, index, triggers, tier, high << 32 | low, cycles)
    return Result(_CODES[code], matched, index, triggers, cycles=cycles)


def score_bytes(command: cmd.Score, rows: int) -> int:
    """How many bytes that reads."""
    return 4 * ask_scores(rows, bool(command.flags & cmd.NUMERATORS)).words


def with_scores(result: Result, words: NDArray[np.uint32], rows: int) -> Result:
    """A SCORE's result with what `ask_scores` read before it. Of a refused one that should be nothing."""
    return replace(result, scores=scores_of(words, rows)) if result.code == "OK" or words.any() else result


def scores_of(words: NDArray[np.uint32], rows: int) -> Scores:
    """From what `ask_scores` read of a block of so many rows."""
    halves: NDArray[np.uint16] = words[rows : rows + rows // 2].astype("<u4").view("<u2")
    scores, more = tuple(words[:rows].tolist()), words[rows + rows // 2 :].tolist()
    if not more:
        return Scores(scores, tuple(halves.tolist()))
    return Scores(scores, tuple(halves.tolist()), tuple(more[:rows]), *more[rows:])


def score_word(scores: Scores | None, offset: int) -> int:
    """What SCORES shows at `offset` of the window (D33): nothing is 0."""
    if scores is None:
        return 0
    halves = [low | high << 16 for low, high in zip(scores.half_bits[::2], scores.half_bits[1::2])]
    largest = (scores.max_bits or 0, scores.sum_bits or 0)
    parts = {0: scores.score_bits, EXPS: scores.exp_bits or (), HALVES: halves, LARGEST: largest}
    first = max(start for start in parts if start <= offset)
    place = (offset - first) // 4
    return parts[first][place] if place < len(parts[first]) else 0


def policy_behind(commands: Sequence[Command], ranked: bool | None) -> bool | None:
    """Is the ranked policy in force behind `commands`? `ranked`: before them; None is not known. A value that the device refuses
    changes nothing."""
    sets = [c.value for c in commands if type(c) is cmd.Set and c.setting == "POLICY" and c.value in (LINEAR, RANKED)]
    return sets[-1] == RANKED if sets else ranked


def _evict_first(commands: Sequence[Command], ranked: bool) -> NDArray[np.bool_]:
    """Which commands queue all evictions before the first prefetch: a STEP of the ranked policy (R47)."""
    found = np.zeros(len(commands), bool)
    for place, command in enumerate(commands):
        if type(command) is cmd.Set:
            ranked = bool(policy_behind([command], ranked))
        found[place] = ranked and type(command) is cmd.Step
    return found


def _triggers(
    records: NDArray[np.uint64], level: NDArray[np.uint32], evict_first: NDArray[np.bool_] | None
) -> list[tuple[Trigger, ...]]:
    """The completion records (R16) of commands that left `level` each, as triggers in the order queued: a pass goes through the
    entries by index, so that is the order of the indices, of each channel alone where a command goes by `evict_first`. The
    records of the two channels come as the memory lets them."""
    if level.sum() != records.size:
        raise TargetError(f"{records.size} completion records came, COMPLETION_LEVEL announced {level.sum()}", REMEDY)
    if evict_first is None:
        return [()] * level.size
    index = bits(records, _RECORD["index"])
    failed = bits(records, _RECORD["error"]) == 1
    if failed.any():
        raise TargetError(
            f"the memory answered the DMA of block {index[failed][0]} with an error", "see `kvfpga reg read ERROR`"
        )
    by_channel = bits(records, _RECORD["channel"]) * np.repeat(evict_first, level)
    order = np.lexsort((index, by_channel, np.repeat(np.arange(level.size), level)))
    index, channel, source, target = (
        bits(records, _RECORD[name])[order].tolist() for name in ("index", "channel", "from_tier", "to_tier")
    )
    all_triggers = [*map(Trigger._make, zip(index, map(CHANNELS.__getitem__, channel), source, target))]
    stops = np.cumsum(level).tolist()
    return [tuple(all_triggers[first:last]) for first, last in zip([0, *stops], stops)]


def telemetry_of(answers: NDArray[np.uint32]) -> list[dict[str, int]]:
    """From rows that `ASK_TELEMETRY` read."""
    return [dict(zip(TELEMETRY, values)) for values in _wide(answers).tolist()]


def digests_of(answers: NDArray[np.uint32]) -> list[int]:
    """From rows that `ask_digest` read."""
    status = answers[:, 0]
    _check_status(status, [Opcode.DIGEST] * status.size)
    for code in bits(status, _STATUS["code"]).tolist():
        if _CODES[code] != "OK":
            raise DeviceRefused(_CODES[code], f"the device refused the range of a DIGEST: {_CODES[code]}", DIGEST_RANGE)
    found: list[int] = _wide(answers[:, RESULT_WORDS:])[:, 0].tolist()
    return found


def pass_digests_of(answers: NDArray[np.uint32]) -> list[int]:
    """From rows that `ASK_PASS_DIGEST` read."""
    found: list[int] = _wide(answers)[:, 0].tolist()
    return found


def _wide(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Pairs of words as 64-bit values, the low word first."""
    return np.ascontiguousarray(words, "<u4").view("<u8")


def _check_status(status: NDArray[np.uint32], opcodes: Sequence[Opcode]) -> None:
    """Each RESULT_STATUS must be the result of its opcode, with a code that R10 has."""
    belongs = bits(status, _STATUS["opcode"]) == np.array(opcodes, np.uint32)
    known = _IS_CODE[bits(status, _STATUS["code"])]
    valid = bits(status, _STATUS["valid"]) == 1
    wrong = np.flatnonzero(~(valid & belongs & known))
    if not wrong.size:
        return
    first = wrong[0]
    name = opcodes[first].name
    if not valid[first]:
        raise TargetError(f"the device left no result for {name}", REMEDY)
    raise TargetError(
        f"the device answered {name} with result status {status[first]:#010x}, which belongs to another command",
        f"somebody else may be using the device, or have used it; {REMEDY}",
    )


_CODES = {code.value: code.name for code in Code}
DIGEST_RANGE = "it begins at its end or before, within the entries of the device (R24)"
"""What the range of a DIGEST has to be."""
_STATUS = REGISTERS["RESULT_STATUS"].fields
_IS_CODE = np.isin(np.arange(1 << _STATUS["code"].width), [*_CODES])
_RECORD = REGISTERS["COMPLETION"].fields
