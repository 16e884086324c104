"""Makes mixed.jsonl beside it, the small trace that `kvfpga replay` takes when it is given none: `python make.py [--check]`.

Five minutes of a server with two kinds of guests. Chats share one of three system prompts, and come back turn by turn with all
that was said before. Agents share a longer prompt with their tools, and send requests in bursts: each call's result is appended,
and now and then the end of a context is dropped and written anew. Invented from a seed: no real user, prompt or time is in it.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parent / "mixed.jsonl"
BLOCK_TOKENS = 512
END_MS = 300_000
PROMPTS, PROMPT_BLOCKS = 3, 4
TOOLS_BLOCKS = 12


class Turn(NamedTuple):
    """A request, and who sends it: `at` orders turns, `number` tells those of one moment apart."""

    at: int
    number: int
    session: str
    turn: int
    context: list[int]


class Traffic:
    """All that comes, drawn from one seed with `random()` alone, whose numbers are the same in every Python."""

    def __init__(self, seed: int):
        self._random = random.Random(seed).random
        self._numbers, self._blocks = count(), count()
        self.prompts = [self.new_blocks(PROMPT_BLOCKS) for _ in range(PROMPTS)]
        self.tools = self.new_blocks(TOOLS_BLOCKS)
        self.waiting: list[Turn] = []

    def below(self, limit: int) -> int:
        return int(self._random() * limit)

    def new_blocks(self, number: int) -> list[int]:
        return [next(self._blocks) for _ in range(number)]

    def send(self, at: int, session: str, turn: int, context: list[int]) -> None:
        heapq.heappush(self.waiting, Turn(at, next(self._numbers), session, turn, context))

    def begin(self) -> None:
        """Sixteen chats and five agents, spread over the time."""
        for chat in range(16):
            self.send(self.below(END_MS * 2 // 3), f"chat-{chat}", 1, self.prompts[self.below(PROMPTS)] + self.new_blocks(1))
        for agent in range(5):
            self.send(self.below(END_MS // 2), f"agent-{agent}", 1, self.tools + self.new_blocks(2))

    def go_on(self, last: Turn) -> None:
        """What the same guest sends next: a chat when its user has read and typed, an agent as soon as its tool has run."""
        if last.session.startswith("chat"):
            pause, more, stays = 8_000 + self.below(30_000), 1 + self.below(2), self._random() < 0.8
        else:
            in_burst = last.turn % 6 != 0
            pause = 300 + self.below(1_500) if in_burst else 20_000 + self.below(40_000)
            more, stays = 1 + self.below(3), last.turn < 24
        context = last.context
        if last.session.startswith("agent") and self._random() < 0.15:
            context = context[: TOOLS_BLOCKS + (len(context) - TOOLS_BLOCKS) // 2]
        if stays and last.at + pause < END_MS:
            self.send(last.at + pause, last.session, last.turn + 1, context + self.new_blocks(more))

    def rows(self) -> Iterator[dict[str, object]]:
        self.begin()
        while self.waiting:
            turn = heapq.heappop(self.waiting)
            answer = 20 + self.below(80) if turn.session.startswith("chat") else 8 + self.below(25)
            yield {
                "timestamp": turn.at, "session": turn.session, "turn": turn.turn,
                "input_length": BLOCK_TOKENS * len(turn.context) - self.below(BLOCK_TOKENS), "output_length": answer,
                "hash_ids": turn.context,
            }  # fmt: skip
            self.go_on(turn)


def text() -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in Traffic(13).rows())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the file is another")
    if not parser.parse_args().check:
        FILE.write_text(text())
    elif FILE.read_text() != text():
        print(f"{FILE.name} is not what {Path(__file__).name} makes: run it again")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
