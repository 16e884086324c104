"""What the ranked policy's learner tells a device along a whole trace: the `Learner`, folded over its requests in order of
time."""

from __future__ import annotations

import heapq
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from ..contract.errors import UsageError
from .constants import DEFAULT, Constants
from .features import History
from .hints import Hints
from .learner import Learner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from .features import Arrival
    from .learner import Told

EXPECTED = 255
"""The code of what is announced; rank.py makes none that is as high."""


def hints(
    times: NDArray[np.float64],
    input_lengths: NDArray[np.int64],
    output_lengths: NDArray[np.int64],
    offsets: NDArray[np.int64],
    blocks: NDArray[np.int32],
    block_tokens: int,
    *,
    step_ms: float = 100.0,
    entries: int = 65536,
    unload_batch: int = 256,
    classes: int = 256,
    final_accuracy: float | None = None,
    seed: int = 0,
    announced: bool = False,
    constants: Constants = DEFAULT,
    progress: Callable[[int], None] | None = None,
) -> Hints:
    """The arrays are those of a `Stream` (lab/stream.py). A request ends as many steps after it came as its answer has tokens,
    and after one at least, as in lab/plan.py. `progress` is told how many requests have arrived.

    `final_accuracy`: with each completion the device is told whether its session ends there. Nothing in a trace says so: it is
    looked up in the future, and wrong in a share of 1 - final_accuracy of the requests, drawn by `seed`, whichever way it is
    wrong. The hints then say `uses_future`. UsageError where the accuracy is no share.

    `announced`: a host that queues requests tells the device of each one a step before it runs (`Hints.announced`). A trace has
    no queue, so this too is looked up in the future, and always right. What is announced ranks above everything else.
    """
    steps = np.floor(times / step_ms).astype(np.int64)
    ends = steps + np.maximum(1, output_lengths)
    of_request = [blocks[first:last].astype(np.int64) for first, last in zip(offsets[:-1], offsets[1:], strict=True)]
    lengths = input_lengths.tolist()
    said_final = np.zeros(len(steps), dtype=np.bool_)
    if final_accuracy is not None:
        _check_accuracy(final_accuracy)
        history = History(entries, unload_batch, block_tokens, constants)
        said_final = _said(_continued(history, steps, ends, of_request, lengths), final_accuracy, seed)

    learner = Learner(
        block_tokens,
        step_ms=step_ms,
        entries=entries,
        unload_batch=unload_batch,
        classes=classes,
        final=final_accuracy is not None,
        constants=constants,
    )
    arrival, order, completion = (np.empty(len(blocks), dtype=np.uint8) for _ in range(3))
    tables: list[NDArray[np.uint8]] = []
    table_of = np.empty(len(steps), dtype=np.int32)
    active: dict[int, Told] = {}
    for step, request, ends_here in _events(steps, ends):
        mine = slice(offsets[request], offsets[request + 1])
        if ends_here:
            said = bool(said_final[request])
            completion[mine] = learner.complete(active.pop(request), step, int(output_lengths[request]), said)
            continue
        if (table := learner.table(step)) is not None:
            tables.append(table)
        table_of[request] = len(tables) - 1
        active[request] = told = learner.arrive(step, of_request[request], lengths[request])
        arrival[mine], order[mine] = told.classes, told.orders
        if progress:
            progress(request + 1)
    table = np.stack(tables)
    if announced:
        table[:, :, 0] = EXPECTED
    return Hints(arrival, order, completion, table, table_of, announced or final_accuracy is not None, announced)


def _events(steps: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[tuple[int, int, bool]]:
    """(step, request, does it end here?), in order. What ends at a step does so before what arrives at it."""
    active: list[tuple[int, int]] = []
    for request, (step, end) in enumerate(zip(steps.tolist(), ends.tolist(), strict=True)):
        while active and active[0][0] <= step:
            yield *heapq.heappop(active), True
        yield step, request, False
        heapq.heappush(active, (end, request))
    while active:
        yield *heapq.heappop(active), True


def _continued(
    history: History,
    steps: NDArray[np.int64],
    ends: NDArray[np.int64],
    blocks: list[NDArray[np.int64]],
    lengths: list[int],
) -> NDArray[np.bool_]:
    """bool[n]: does a later request continue this one?"""
    found = np.zeros(len(steps), dtype=np.bool_)
    active: dict[int, Arrival] = {}
    for step, request, ends_here in _events(steps, ends):
        if ends_here:
            history.complete(active.pop(request), step)
            continue
        active[request] = arrived = history.arrive(step, blocks[request], lengths[request])
        if arrived.parent >= 0:
            found[arrived.parent] = True
    return found


def _said(continued: NDArray[np.bool_], accuracy: float, seed: int) -> NDArray[np.bool_]:
    """bool[n]: is a request said to be its session's last? Python's Random gives the same draws on every machine."""
    draw = Random(seed)
    right = np.array([draw.random() < accuracy for _ in range(len(continued))], dtype=np.bool_)
    return np.where(right, ~continued, continued)


def _check_accuracy(accuracy: float) -> None:
    if not 0 <= accuracy <= 1:
        raise UsageError(f"hints right in a share of {accuracy:g}", "give an accuracy from 0 to 1, such as 0.9")
