"""Agents: each works in a loop of calls, every call with all that was said before and what the last tool answered.

Tools answer at once or after a while, and now and then a person has to. A context that has grown too long is compacted: behind
the agent's instructions and tools only a summary is left. Sometimes an agent sends a helper, which begins with a copy of its
context and whose work is dropped when it has reported.
"""

from __future__ import annotations

from itertools import count

from .draws import Draws
from .traffic import Blocks, Client, Context, Turn, Workload

AGENTS = 6
LONGEST = 300 * 256
"""Tokens of a context before it is compacted."""


def workload(draws: Draws) -> Workload:
    blocks = Blocks()
    tools = [draws.between(12, 50) for _ in range(AGENTS)]
    for _ in count():
        agent = draws.below(AGENTS)
        context = Context(blocks)
        context.quote(("tools", agent), tools[agent])
        yield draws.wait(20_000), _works(draws, context, tools[agent])


def _works(draws: Draws, context: Context, kept: int) -> Client:
    context.say(draws.size(900, least=40))
    pause = 0.0
    for _ in range(min(150, draws.size(16))):
        yield _call(draws, context, pause)
        if draws.chance(0.06):
            helper = context.copy()
            for step in range(draws.between(2, 8)):
                yield _call(draws, helper, 400 + draws.wait(2_500) if step else 200)
            context.say(draws.size(250, least=30))
        if context.tokens > LONGEST:
            context.forget(kept)
            context.say(draws.size(2_500, least=600))
        pause = _until_the_answer(draws)


def _call(draws: Draws, context: Context, pause: float) -> Turn:
    turn = context.ask(pause, draws.size(120, least=15))
    context.say(draws.size(500, least=10))
    return turn


def _until_the_answer(draws: Draws) -> float:
    if draws.chance(0.05):
        return 30_000 + draws.wait(240_000)
    return 300 + draws.wait(20_000 if draws.chance(0.15) else 2_000)
