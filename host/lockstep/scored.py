"""Attention scores in lockstep (contract R30 to R33): the model's side of a SCORE, and what it computed as arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..contract.commands import Score
from ..contract.errors import UsageError
from ..contract.wording import counted
from ..device.answers import score_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from ..contract.commands import Command, Result
    from ..hepc_ref import ReferenceModel


def follow(model: ReferenceModel, command: Command) -> Result:
    """Let the model run a command. The scores that a device has are read, which counts (R33), and the model reads nothing."""
    result = model.execute(command)
    if type(command) is Score and model.nmce:
        model.scores_read(score_bytes(command, model.block_tokens))
    return result


def explained(results: list[Result], expected: Iterable[Result]) -> list[Result]:
    """What the device answered, with the model's reason where it refused."""
    return [
        replace(result, why=other.why) if other.why and result.code == other.code else result
        for result, other in zip(results, expected, strict=True)
    ]  # fmt: skip


class BlockScores(NamedTuple):
    """`scores`: float32[BLOCK_TOKENS], the attention score of each of the block's tokens; -inf behind its last one. `halves`: the
    same as float16, rounded once. `exps`, `max`, `sum`: exp(score - max) of each token (float32), the largest score and the sum
    of the exps; None where they were not asked for. `result`: of the command."""

    scores: NDArray[np.float32]
    halves: NDArray[np.float16]
    exps: NDArray[np.float32] | None
    max: np.float32 | None
    sum: np.float32 | None
    result: Result

    def __repr__(self) -> str:
        """What there is to say: a notebook shows it for every block."""
        found = self.scores[np.isfinite(self.scores)]
        way = f", {found.min():.6g} to {found.max():.6g}" if found.size else ""
        return f"<BlockScores of {counted(len(found), 'token')}{way}{'' if self.exps is None else ', exps'}>"

    def _repr_html_(self) -> str:
        """A row for each token that the block has."""
        from ..contract.showing import html_table

        columns = {"score": self.scores} if self.exps is None else {"score": self.scores, "exp": self.exps}
        tokens = np.flatnonzero(np.isfinite(self.scores)).tolist()
        rows = [(token, *(f"{column[token]:.6g}" for column in columns.values())) for token in tokens]
        return html_table(("token", *columns), rows, repr(self))


def block_scores(result: Result) -> BlockScores:
    """Of a SCORE that was not refused."""
    if result.scores is None:
        raise ValueError(f"{result.code}: nothing was scored")
    found = result.scores
    halves = np.array(found.half_bits, "<u2").view("<f2")
    exps, largest, total = map(_fp32, (found.exp_bits, found.max_bits, found.sum_bits))
    return BlockScores(_fp32(found.score_bits), halves, exps, largest, total, result)


def softmax(blocks: Iterable[BlockScores]) -> list[NDArray[np.float64]]:
    """One softmax over the tokens of several blocks, each scored with `exp`: the weights of its tokens, float64[BLOCK_TOKENS] a
    block. They add up to 1. UsageError where there is no block, or one without numerators."""
    parts = [(block.exps, block.max, block.sum) for block in blocks]
    if not parts:
        raise UsageError("a softmax of no blocks", "give the scores of one block at least")
    tops = np.array([np.nan if top is None else top for _, top, _ in parts], float)
    sums = np.array([np.nan if total is None else total for *_, total in parts], float)
    largest = tops.max()
    differ = tops != largest  # for infinity less infinity is no number
    scales = np.exp(np.subtract(tops, largest, out=np.zeros_like(tops), where=differ))
    weights = scales / (scales * sums).sum()
    return [_weights(exps, weight) for (exps, *_), weight in zip(parts, weights)]


def _weights(exps: NDArray[np.float32] | None, scale: float) -> NDArray[np.float64]:
    if exps is None:
        raise UsageError("a block was scored without numerators", "score it with exp=True")
    return scale * exps.astype(np.float64)


def _fp32(bits: tuple[int, ...] | int | None) -> Any:
    """An array, or one value; None of None."""
    return None if bits is None else np.array(bits, "<u4").view("<f4")[()]


def score(execute: Callable[[Score], Result], command: Score, wait: bool) -> Result:
    """Run it; where the block was not in tier 1 and its access has called it back, and `wait` says so, once more. One result for
    both: the triggers and cycles of the first one are in it."""
    first = execute(command)
    if not wait or first.code != "ERR_NOT_RESIDENT" or not first.triggers:
        return first
    second = execute(command)
    return replace(second, triggers=first.triggers + second.triggers, cycles=first.cycles + second.cycles)
