"""One cell of the lab, computed: a policy over a stream at a capacity."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from . import digests
from .cells import Cell
from .policies.contender import Contender, Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .stream import Stream


class Measured(NamedTuple):
    cell: Cell
    samples: Mapping[str, NDArray[Any]] | None


class Laboratory:
    """Streams by their digests, and what policies have prepared for the last few: hints are learnt once for all capacities."""

    KEPT = 2
    """Preparations: the largest take some hundred MiB each."""

    def __init__(self) -> None:
        self._prepared: OrderedDict[tuple[object, ...], tuple[Any, float]] = OrderedDict()

    def measure(
        self, stream: Stream, contender: Contender, capacity: int, options: Options, stream_digest: str | None = None,
        generated: bool = False,
    ) -> Measured:  # fmt: skip
        """The cell and its samples. `stream_digest`: where it is known, computing it is saved."""
        digest = stream_digest or digests.of_stream(stream)
        prepared, learn_seconds = self._prepare(stream, contender, options, digest)
        begun = time.process_time()
        run = contender.run(stream, capacity, options, prepared)
        cell = blank(stream, contender, capacity, options, digest, generated)
        return Measured(
            cell.having(
                hits=int(run.hits.sum()), prefix_hits=int(run.prefix_hits.sum()), fills=run.fills, device=run.device,
                seconds=round(time.process_time() - begun, 6), learn_seconds=learn_seconds,
            ),
            run.samples,
        )  # fmt: skip

    def _prepare(self, stream: Stream, contender: Contender, options: Options, digest: str) -> tuple[Any, float | None]:
        if contender.prepare is None:
            return None, None
        key = (digest, contender.name, *digests.dependent(contender, options).items())
        if key not in self._prepared:
            begun = time.process_time()
            made = contender.prepare(stream, options)
            self._prepared[key] = made, round(time.process_time() - begun, 6)
        self._prepared.move_to_end(key)
        while len(self._prepared) > self.KEPT:
            self._prepared.popitem(last=False)
        return self._prepared[key]


def blank(
    stream: Stream, contender: Contender, capacity: int, options: Options, stream_digest: str, generated: bool = False
) -> Cell:
    """All that is known of a cell before it is computed."""
    known = Cell(
        stream.name, contender.name, capacity, stream.requests, stream.touches, len(stream.ids),
        uses_future=contender.uses_future, generated=generated, versions=digests.versions(contender),
        digest=digests.of_cell(stream_digest, contender, capacity, options),
    )  # fmt: skip
    return known.having(**digests.dependent(contender, options))
