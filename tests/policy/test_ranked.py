"""The hints of a whole trace."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from kvfpga.contract.errors import UsageError
from kvfpga.lab import stream
from kvfpga.lab.traces import SAMPLE, load_trace
from kvfpga.policy import ranked
from kvfpga.policy.constants import DEFAULT

WHOLE = stream.of(load_trace(SAMPLE))


def hints(of=WHOLE, **options):
    return ranked.hints(of.times, of.input_lengths, of.output_lengths, of.offsets, of.blocks, of.block_tokens, **options)


def digest(found):
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in found[:5])).hexdigest()


def test_they_are_the_same_bytes_on_every_machine():
    assert digest(hints()) == "273c0e30cf5b4d65062094746c002ce830ae4380ec6bd66a0dc8f1639f67c67e"


def test_nothing_is_told_that_only_the_future_knows():
    """What is told of a trace's beginning is the same where the trace ends there."""
    half = WHOLE.requests // 2
    cut = WHOLE._replace(
        times=WHOLE.times[:half],
        input_lengths=WHOLE.input_lengths[:half],
        output_lengths=WHOLE.output_lengths[:half],
        offsets=WHOLE.offsets[: half + 1],
        blocks=WHOLE.blocks[: WHOLE.offsets[half]],
    )
    whole, part = hints(), hints(cut)
    touches = len(cut.blocks)
    assert (whole.arrival[:touches] == part.arrival).all()
    assert (whole.orders[:touches] == part.orders).all()
    assert (whole.table_of[:half] == part.table_of).all()
    assert (whole.tables[: len(part.tables)] == part.tables).all()
    assert not part.uses_future
    ended = np.repeat(cut.times // 100 + np.maximum(1, cut.output_lengths) <= cut.times[-1] // 100, np.diff(cut.offsets))
    assert ended.any()
    assert (whole.completion[:touches][ended] == part.completion[ended]).all()


def test_what_is_announced_ranks_above_all_that_is_learnt():
    """Nothing but the code of bucket 0 differs, which no block has in a STEP that was not announced."""
    plain, told = hints(), hints(announced=True)
    assert told.announced and told.uses_future and not plain.announced
    assert (told.tables[:, :, 0] == 255).all() and plain.tables.max() < 255
    assert (told.tables[:, :, 1:] == plain.tables[:, :, 1:]).all()
    assert all((one == other).all() for one, other in zip(told[:3], plain[:3]))


def test_the_shapes_are_those_of_the_device():
    found = hints(classes=128)
    assert found.tables.shape[1:] == (128, 64)
    assert len(found.arrival) == len(found.orders) == len(found.completion) == WHOLE.touches
    assert found.arrival.max() < 128
    assert found.table_of[0] == 0
    assert (np.diff(found.table_of) >= 0).all()
    assert found.table_of[-1] == len(found.tables) - 1


def final_requests(found):
    """Which requests end with the classes of a session's end."""
    return np.maximum.reduceat(found.completion, WHOLE.offsets[:-1]) >= 248


def test_an_end_of_session_is_told_as_accurately_as_asked_for():
    no_closure = DEFAULT._replace(closure_lead=256)
    right, wrong, half = (hints(final_accuracy=share, constants=no_closure) for share in (1.0, 0.0, 0.5))
    assert (final_requests(right) != final_requests(wrong)).all()
    assert 0 < final_requests(right).mean() < 1
    agree = (final_requests(half) == final_requests(right)).mean()
    assert 0.3 < agree < 0.7
    assert right.uses_future
    assert half.uses_future


def test_a_session_has_one_end():
    """Two sessions of three turns: the third is the last of each."""
    turns = [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7]]
    parts = [[block + shift for block in turn] for turn in turns for shift in (0, 100)]
    sizes = np.array([len(part) for part in parts])
    found = ranked.hints(
        np.arange(6) * 1000.0, sizes * 64, np.full(6, 3), np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate(parts).astype(np.int32), 64, final_accuracy=1.0,
    )  # fmt: skip
    ends = np.maximum.reduceat(found.completion, np.cumsum(sizes) - sizes) >= 248
    assert ends.tolist() == [False] * 4 + [True] * 2


def test_a_seed_decides_which_hints_are_wrong():
    first, again, other = (digest(hints(final_accuracy=0.7, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_an_accuracy_is_a_share(share):
    with pytest.raises(UsageError, match="right in a share of"):
        hints(final_accuracy=share)
