"""Batch jobs: the rows of a job come at a steady pace, each behind the job's examples. Between them scans go over long texts
once.

A job of the same examples comes again and again, popular ones more often. The rows share nothing but the examples, and neither
rows nor scans ever come back: most of what passes is of no use to anybody.
"""

from __future__ import annotations

from itertools import count

from .draws import Draws, Popularity
from .traffic import Blocks, Client, Context, Workload

JOBS = 90
SCANS = 0.3


def workload(draws: Draws) -> Workload:
    blocks = Blocks()
    examples = [min(100, draws.size(14)) for _ in range(JOBS)]
    job_of = Popularity(JOBS, 6)
    for _ in count():
        if draws.chance(SCANS):
            yield draws.wait(6_000), _scan(draws, blocks)
        else:
            job = job_of.draw(draws)
            yield draws.wait(6_000), _rows(draws, blocks, job, examples[job])


def _rows(draws: Draws, blocks: Blocks, job: int, examples: int) -> Client:
    pace = draws.size(6_000, least=200)
    tokens = draws.size(500, least=20)
    for row in range(min(1_500, draws.size(80, least=5))):
        context = Context(blocks)
        context.quote(("examples", job), examples)
        context.say(draws.size(tokens, least=10))
        yield context.ask(pace * (0.5 + draws.share()) if row else 0.0, draws.size(25, least=1))


def _scan(draws: Draws, blocks: Blocks) -> Client:
    for part in range(draws.size(25, least=3)):
        context = Context(blocks)
        context.say(draws.size(9_000, least=500))
        yield context.ask(draws.wait(4_000) if part else 0.0, draws.size(200, least=20))
