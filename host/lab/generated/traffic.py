"""Clients that send requests, and what comes of many of them at once.

A client is an iterator of `Turn`s, each so long after the one before. A workload is an iterator of (milliseconds since the client
before, client), without an end. `requests` runs as many clients side by side as happen to be there.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from ..trace_formats import merged
from ..traces import Request

BLOCK_TOKENS = 256


class Turn(NamedTuple):
    """A request, `pause` milliseconds after the client's last."""

    pause: float
    input_length: int
    output_length: int
    blocks: list[int]


Client = Iterator[Turn]
Workload = Iterator[tuple[float, Client]]


class Blocks:
    """Numbers for blocks. One stands for a block's tokens and all before it, so the same text behind another prefix is another
    block."""

    def __init__(self) -> None:
        self._next = count()
        self._known: dict[tuple[int, object], int] = {}

    def new(self) -> int:
        return next(self._next)

    def of(self, before: int, text: object) -> int:
        """The block of `text` behind the block `before` (-1: at the beginning of a prompt)."""
        if (before, text) not in self._known:
            self._known[before, text] = self.new()
        return self._known[before, text]


class Context:
    """What a client has said and been answered so far, in whole blocks and some tokens of one more."""

    def __init__(self, blocks: Blocks):
        self._blocks = blocks
        self.whole: list[int] = []
        self._tail = 0

    @property
    def tokens(self) -> int:
        return len(self.whole) * BLOCK_TOKENS + self._tail

    def quote(self, name: object, blocks: int) -> None:
        """Whole blocks of a text that others quote too. What was begun of a block is padded."""
        if self._tail:
            self.say(BLOCK_TOKENS - self._tail)
        for place in range(blocks):
            self.whole.append(self._blocks.of(self.whole[-1] if self.whole else -1, (name, place)))

    def say(self, tokens: int) -> None:
        """Text of its own."""
        self._tail += tokens
        while self._tail >= BLOCK_TOKENS:
            self.whole.append(self._blocks.new())
            self._tail -= BLOCK_TOKENS

    def forget(self, kept: int) -> None:
        """All but the first whole blocks."""
        del self.whole[kept:]
        self._tail = 0

    def copy(self) -> Context:
        found = Context(self._blocks)
        found.whole, found._tail = list(self.whole), self._tail
        return found

    def ask(self, pause: float, answer: int) -> Turn:
        """Sends all of it, and takes the answer in. A block that is full in part is the request's own: its hash changes as it
        fills."""
        blocks = [*self.whole, self._blocks.new()] if self._tail else list(self.whole)
        turn = Turn(pause, self.tokens, answer, blocks)
        self.say(answer)
        return turn


def requests(workload: Workload) -> Iterator[Request]:
    """In order of time, without an end."""
    numbers = count()
    coming: list[tuple[float, int, Turn, Client]] = []
    begins, newcomer = next(workload)
    while True:
        while not coming or begins <= coming[0][0]:
            _enter(coming, begins, next(numbers), newcomer)
            gap, newcomer = next(workload)
            begins += gap
        now, _, turn, client = heapq.heappop(coming)
        yield Request(float(int(now)), turn.input_length, turn.output_length, merged((block, 1) for block in turn.blocks))
        _enter(coming, now, next(numbers), client)


def _enter(coming: list[tuple[float, int, Turn, Client]], now: float, number: int, client: Client) -> None:
    if (turn := next(client, None)) is not None:
        heapq.heappush(coming, (now + turn.pause, number, turn, client))
