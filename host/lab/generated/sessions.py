"""Reading sessions: each opens one long document, or a few readers the same one, and asks a handful of questions about it.

Several hundred are open at a time. Each goes on when it happens to, after moments or after minutes, so the next request is of any
of them, and how long one has been silent says little about whether it will go on.
"""

from __future__ import annotations

from itertools import count

from .draws import Draws, Popularity
from .traffic import Blocks, Client, Context, Workload

DOCUMENTS = 240
READ_BY_ONE = 0.5
LAST_QUESTION = 0.22


def workload(draws: Draws) -> Workload:
    blocks = Blocks()
    lengths = [min(250, draws.size(45, least=8)) for _ in range(DOCUMENTS)]
    popular = Popularity(DOCUMENTS, 12)
    for session in count():
        document = popular.draw(draws)
        context = Context(blocks)
        name = ("own", session) if draws.chance(READ_BY_ONE) else ("document", document)
        context.quote(name, lengths[document])
        yield draws.wait(1_100), _reads(draws, context)


def _reads(draws: Draws, context: Context) -> Client:
    pause = 0.0
    while True:
        context.say(draws.size(45, least=5))
        yield context.ask(pause, draws.size(220, least=20))
        if draws.chance(LAST_QUESTION):
            return
        pause = draws.wait(90_000)
