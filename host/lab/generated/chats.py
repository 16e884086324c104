"""Plain chats: all behind one short system prompt, turn by turn, a user reading and typing in between. Some users come back hours
later, when nobody remembers."""

from __future__ import annotations

from itertools import count

from .draws import Draws
from .traffic import Blocks, Client, Context, Workload

SYSTEM_PROMPT = 3
COMES_BACK = 0.05


def workload(draws: Draws) -> Workload:
    blocks = Blocks()
    for _ in count():
        context = Context(blocks)
        context.quote("system", SYSTEM_PROMPT)
        yield draws.wait(700), _talks(draws, context)


def _talks(draws: Draws, context: Context) -> Client:
    """Whoever writes much goes on for longer, and a long answer takes longer to read."""
    talkative = 0.3 + 0.6 * draws.share()
    pause = 0.0
    while True:
        context.say(draws.size(90 if talkative < 0.7 else 260, least=3))
        answer = draws.size(240, least=5)
        yield context.ask(pause, answer)
        if draws.chance(COMES_BACK):
            pause = 1_200_000 + draws.wait(1_800_000)
        elif draws.chance(talkative):
            pause = 4_000 + 40 * answer + draws.wait(25_000)
        else:
            return
