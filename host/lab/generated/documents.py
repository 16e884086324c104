"""Documents in front of questions: retrieval puts one to four documents of a library behind the instructions of an application,
and the question behind them.

The same document in another place of a prompt is other blocks. What is popular drifts: every few hundred questions the library is
looked at from another end. Some users ask again about what they were shown.
"""

from __future__ import annotations

from itertools import count

from .draws import Draws, Popularity
from .traffic import Blocks, Client, Context, Workload

APPLICATIONS = 12
DOCUMENTS = 500
ASKED_ABOUT_AGAIN = 0.3
DRIFT = 400


def workload(draws: Draws) -> Workload:
    blocks = Blocks()
    instructions = [draws.between(1, 6) for _ in range(APPLICATIONS)]
    lengths = [min(80, draws.size(9)) for _ in range(DOCUMENTS)]
    application_of, document_of = Popularity(APPLICATIONS, 1.5), Popularity(DOCUMENTS, 4)
    for number in count():
        application = application_of.draw(draws)
        shift = number // DRIFT * 37
        shown = [(document_of.draw(draws) + shift) % DOCUMENTS for _ in range(1 + draws.below(4))]
        context = Context(blocks)
        context.quote(("instructions", application), instructions[application])
        for document in dict.fromkeys(shown):
            context.quote(("document", document), lengths[document])
        yield draws.wait(250), _asks(draws, context)


def _asks(draws: Draws, context: Context) -> Client:
    pause = 0.0
    while True:
        context.say(draws.size(60, least=8))
        yield context.ask(pause, draws.size(180, least=10))
        if not draws.chance(ASKED_ABOUT_AGAIN):
            return
        pause = 5_000 + draws.wait(45_000)
