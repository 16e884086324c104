"""The requests behind a vLLM server's KV-cache events, and their blocks placed on a device under a policy (placing.py).

Events say which blocks were stored behind which others, and when; requests do not show. What is made of that:

    a request arrives    blocks are stored: its prompt is the chain of blocks before them, which it has found in the cache, and
                         those themselves. Where they were stored before and removed since, it touches them again
    … goes on            blocks are stored behind the last ones of a request that is active: one at a time as it generates; or
                         more, soon and before it has generated any, the rest of a prompt that is computed in pieces
    … ends               it has stored nothing for four times as many decode steps as a block has tokens, when it would have
                         filled the next one; or its last block is removed, which in use it would not be

So a request that finds its whole prompt in the cache is seen only once its answer fills a block, and one that goes on with one
block within that time is taken for the one before. In the engine's process nothing needs to be guessed: hooks.py.

A removed block stays in the directory: what the engine has no room for is what lower tiers are for, and the policy decides what
tier 1 holds. It leaves when the directory is full and it is out of use longest. What is cleared is void, and unloaded.

Time is the publisher's: a decode step every `step_ms` of it. A batch without a time is one step behind the one before.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from .events import GPU, Batch, Removed, Stored
from .mirror import Key
from .placing import Placement, Request
from .receiver import Receiver, Told

FLUSH = 1024
"""Commands that wait at most, about."""
ANSWER_BLOCKS = 4
"""A request that has stored nothing has ended when it could have filled so many blocks, a token a step. More than one, because a
busy server has slower steps than it is said to have."""
LONGEST = 30 * 86_400.0
"""Seconds between two batches; a clock that says more was set."""
PROMPT_STEPS = 10
"""Pieces of one prompt come no farther apart: they are computed in steps that follow each other."""


@dataclass
class Counts(Told):
    """`again`: blocks stored that were in the directory already. `generated`: those that active requests have filled."""

    again: int = 0
    generated: int = 0


@dataclass
class Piece:
    """Blocks that a batch has stored in a row, each of `size` tokens."""

    names: list[Key]
    parent: Key | None
    size: int


@dataclass
class Live:
    """A request that is active. `last`: the step at which it has stored blocks last, in which `batch`; `tokens`: generated."""

    request: Request
    size: int
    last: int = 0
    batch: int = 0
    tokens: int = 0

    @property
    def due(self) -> int:
        """When it has ended, if nothing more comes."""
        return self.last + ANSWER_BLOCKS * self.size


class Requests(Receiver):
    counts: Counts

    def __init__(self, placement: Placement, medium: str = GPU):
        super().__init__(medium)
        self.placement, self.counts = placement, Counts()
        self._parents: dict[Key, Key | None] = {}
        self._live: dict[Key, Live] = {}  # by the last block
        self._gathered: list[Piece] = []  # of the batch
        self._batches = 0
        self._began = 0.0, 0  # time and step
        self._seen: float | None = None  # time of the last batch

    @property
    def held(self) -> int:
        return self.placement.held

    @property
    def active(self) -> int:
        """Requests that have not ended, as far as can be told."""
        return len(self._live)

    def apply(self, batch: Batch) -> None:
        self._batches += 1
        self._advance(self._step_of(batch.ts))
        super().apply(batch)
        self._settle()
        if self.placement.planned >= FLUSH:
            self.flush()

    def flush(self) -> None:
        self.placement.flush()

    def clear(self, complete: bool) -> None:
        self._settle()
        self.placement.clear()
        self._live.clear()
        self._parents.clear()
        self.placement.gone()
        self.complete = complete

    def finish(self) -> None:
        """Nothing more comes: what is active ends when it would have."""
        self._advance(max((live.due for live in self._live.values()), default=0))
        self.flush()

    def verify(self) -> int:
        return self.placement.verify()

    def summary(self) -> dict[str, Any]:
        return asdict(self.counts) | {"blocks": self.held, "active": self.active} | self.placement.figures()

    # ---- time --------------------------------------------------------------------------------------------------------
    def _step_of(self, ts: float | None) -> int:
        """Never before the step that it is. Where the clock is set, or there is none, a batch is a step behind the last."""
        now = self.placement.step
        if ts is None:
            return now + 1
        if self._seen is None or not 0 <= ts - self._seen <= LONGEST:
            self._began = ts, now if self._seen is None else now + 1
        self._seen = ts
        since, step = self._began
        passed = (ts - since) * 1000 / self.placement.step_ms
        return max(now, step + int(round(passed, 4)))  # times since 1970 are not exact to the microsecond

    def _advance(self, step: int) -> None:
        ended = sorted((item for item in self._live.items() if item[1].due <= step), key=lambda item: item[1].due)
        for last, live in ended:
            self.placement.advance(live.due)
            self._end(last)
        self.placement.advance(step)

    def _end(self, last: Key) -> None:
        live = self._live.pop(last)
        self.placement.complete(live.request, live.tokens)

    # ---- events ------------------------------------------------------------------------------------------------------
    def _stored(self, event: Stored) -> None:
        names = [(event.group, name) for name in event.hashes]
        if not names:
            return
        parent = None if event.parent is None else (event.group, event.parent)
        size = event.block_size or self.placement.device.model.block_tokens
        before = next((piece for piece in self._gathered if piece.names[-1] == parent and piece.size == size), None)
        if before:
            before.names += names
        else:
            self._gathered.append(Piece(names, parent, size))

    def _removed(self, event: Removed) -> None:
        for name in event.hashes:
            if (event.group, name) in self._live:
                self._end((event.group, name))

    def _settle(self) -> None:
        """Whose the gathered blocks are."""
        gathered, self._gathered = self._gathered, []
        for piece in gathered:
            self.counts.again += sum(name in self._parents for name in piece.names)
            for name, parent in zip(piece.names, [piece.parent, *piece.names]):
                self._parents.setdefault(name, parent)
            live = self._live.get(piece.parent) if piece.parent else None
            if live and piece.parent and self._goes_on(live, piece):
                del self._live[piece.parent]
                generated = self._is_generated(live, piece)
                self.placement.grow(live.request, piece.names, piece.size, generated)
                live.tokens += piece.size * generated
                self.counts.generated += generated
            else:
                prompt = [*self._chain(piece.parent), *piece.names]
                live = Live(self.placement.arrive(prompt, len(prompt) * piece.size, piece.size), piece.size)
            if piece.names[-1] in self._live:  # somebody else asks for the same, and which of them goes on will not show
                self._end(piece.names[-1])
            live.batch, live.last = self._batches, self.placement.step
            self._live[piece.names[-1]] = live
        for name in cast("list[Key]", self.placement.gone()):
            self._parents.pop(name, None)

    def _goes_on(self, live: Live, piece: Piece) -> bool:
        """Several blocks at once are the rest of a prompt, of which nothing was generated yet; else another turn."""
        rest = not live.tokens and self.placement.step - live.last <= PROMPT_STEPS
        return rest or len(piece.names) == 1

    def _is_generated(self, live: Live, piece: Piece) -> bool:
        return len(piece.names) == 1 and live.batch < self._batches

    def _chain(self, name: Key | None) -> list[Key]:
        """The blocks up to this one, as far back as they are known. (A publisher that is no server may name them in a circle.)"""
        found: dict[Key, None] = {}
        while name is not None and name in self._parents and name not in found:
            found[name] = None
            name = self._parents[name]
        return list(found)[::-1]
