"""SCOREs of which two are under way at a time: the device scores one block while the result of the one before is read (R34).

The device has two result buffers, so a third SCORE would wait until one is free. Two are sent, and behind each result that was
read the next but one; the device is waited for once in two. With strict=0 a block that one SCORE has called back could still be
under way when the next one looks for it (R22), so then each runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..contract import commands as cmd
from ..contract.commands import Result, Score
from ..transport.mmio import Batch
from .answers import RESULT_WORDS, ask_scores, results_of, scores_of
from .codec import STRICT_BIT, bits
from .regmap import REGISTERS, Code

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .device import Device

AT_ONCE = 2
STATUS = REGISTERS["RESULT_STATUS"].fields


def run(device: Device, commands: Sequence[Score]) -> list[Result]:
    """The result of each, as `Device.execute_many` gives them."""
    if not device.nmce or not device.mmio.read32(REGISTERS["CTRL"].offset) & STRICT_BIT:
        return device.execute_many(commands)
    batch, rows = Batch(), device.identity.block_tokens
    levels: list[int] = []
    shown: list[int] = []
    left: list[int] = []
    for command in commands[:AT_ONCE]:
        device.append_command(batch, command)
    for place, command in enumerate(commands):
        if place % AT_ONCE == 0:
            batch.wait_idle()
            levels.append(batch.read(REGISTERS["COMPLETION_LEVEL"].offset))
            batch.drain(REGISTERS["COMPLETION"].offset)
        shown.append(batch.words)
        batch.join(ask_scores(rows, bool(command.flags & cmd.NUMERATORS)))
        left.append(batch.burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS).start)
        for following in commands[place + AT_ONCE : place + AT_ONCE + 1]:
            device.append_command(batch, following)
    words, records = device.mmio.run(batch)
    answers = np.array([[*words[at : at + RESULT_WORDS], 0] for at in left], np.uint32)
    records = _in_order(answers, words[levels], records)
    results = results_of(commands, answers, records)
    for place, result in enumerate(results):
        if result.code == "OK":  # behind one that was refused, SCORES shows those of the next
            results[place] = replace(result, scores=scores_of(words[shown[place] : left[place]], rows))
    return results


def _in_order(answers: NDArray[np.uint32], levels: NDArray[np.uint32], records: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The completion records in the order of the commands that they belong to, whose `answers` get their number: a SCORE moves no
    block but the one that it did not find in tier 1. What belongs to none comes last."""
    index, found, first = bits(records, REGISTERS["COMPLETION"].fields["index"]).tolist(), [], 0
    for pair, level in enumerate(levels.tolist()):
        left = dict(zip(index[first : first + level], records[first : first + level].tolist()))
        for answer in answers[AT_ONCE * pair : AT_ONCE * (pair + 1)]:
            status, index_found = int(answer[0]), int(answer[4])
            if bits(status, STATUS["code"]) == Code.ERR_NOT_RESIDENT and index_found in left:
                answer[RESULT_WORDS] = 1
                found.append(left.pop(index_found))
        found += left.values()
        first += level
    return np.array([*found, *records[first:].tolist()], np.uint64)
