#!/usr/bin/env python3
"""Makes the small traces beside it, of the two kinds that host/lab/traces.py reads; `--check` compares.

    chats.jsonl             hash_ids: users of a few system prompts, who come back with all that was said before
    agents.ranges.jsonl     hash_ranges: long sessions that grow from turn to turn, and sometimes drop their end

Invented from a seed: no real user, prompt or time is in them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

BLOCK_TOKENS = {"chats": 512, "agents": 64}


class Chance(random.Random):
    """Only `random()`, whose numbers are the same in every Python."""

    def below(self, limit: int) -> int:
        return int(self.random() * limit)


def chats(count: int = 400, users: int = 60, prompts: int = 4) -> Iterator[dict]:
    chance, free, ms = Chance(1), 0, 0
    heads = []
    for number in range(prompts):
        heads.append(list(range(free, free + 1 + number)))
        free += 1 + number
    said: dict[int, list[int]] = {}
    for _ in range(count):
        user = int(users * chance.random() ** 2)  # some come often
        if user not in said or len(said[user]) > 20:
            said[user] = list(heads[user % prompts])
        more = 1 + chance.below(6)
        said[user] += range(free, free + more)
        free += more
        ms += 10 * chance.below(200)
        yield row("chats", ms, 20 + chance.below(600), hash_ids=list(said[user]))


def agents(count: int = 60, sessions: int = 5) -> Iterator[dict]:
    chance, free, ms = Chance(2), 0, 0
    held: dict[int, list[list[int]]] = {}
    for _ in range(count):
        number = chance.below(sessions)
        ranges = held.setdefault(number, [])
        if ranges and chance.random() < 0.3:  # another way from here on: the last block is not the same any more
            ranges[-1][1] -= 1
            if not ranges[-1][1]:
                ranges.pop()
        more = 5 + chance.below(40)
        if ranges and sum(ranges[-1]) == free:
            ranges[-1][1] += more
        else:
            ranges.append([free, more])
        free += more
        ms += 500 + chance.below(9000)
        yield row("agents", ms, 50 + chance.below(300), session=f"s{number}", hash_ranges=[list(pair) for pair in ranges])


def row(kind: str, ms: int, output: int, **more) -> dict:
    blocks = len(more["hash_ids"]) if "hash_ids" in more else sum(count for _, count in more["hash_ranges"])
    return {"timestamp": ms, "input_length": BLOCK_TOKENS[kind] * blocks - 7, "output_length": output, **more}


TRACES: dict[str, Callable[[], Iterator[dict]]] = {"chats.jsonl": chats, "agents.ranges.jsonl": agents}


def text(name: str) -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in TRACES[name]())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is another")
    is_check = parser.parse_args().check
    stale = [name for name in TRACES if is_check and (FOLDER / name).read_text() != text(name)]
    if not is_check:
        for name in TRACES:
            (FOLDER / name).write_text(text(name))
    for name in stale:
        print(f"{name} is not what {Path(__file__).name} makes: run it again")
    return bool(stale)


FOLDER = Path(__file__).parent

if __name__ == "__main__":
    sys.exit(main())
