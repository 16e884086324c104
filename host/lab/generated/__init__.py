"""Generated traffic: workloads that differ in kind, to see whether a policy is good at more than the recorded traces.

    trace("generated-chats", requests=10_000, seed=1)
    python -m kvfpga.lab.generated generated-chats --requests 10000 --seed 1 > chats.jsonl

Nobody's real traffic is in them; every result on them says that they are generated. The same name, number and seed give the same
trace on every machine (draws.py), and a longer one begins with a shorter one. Each module's docstring says what it is like.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from ...contract.errors import UsageError
from ..trace_formats import MOONCAKE
from ..traces import Trace
from . import agents, batches, chats, documents, sessions
from .draws import Draws
from .traffic import BLOCK_TOKENS, Workload
from .traffic import requests as sent

WORKLOADS: dict[str, Callable[[Draws], Workload]] = {
    f"generated-{name}": workload
    for name, workload in (
        ("documents", documents.workload),
        ("batches", batches.workload),
        ("agents", agents.workload),
        ("sessions", sessions.workload),
        ("chats", chats.workload),
    )
}
NAMES = tuple(WORKLOADS)


def trace(name: str, requests: int, seed: int = 1) -> Trace:
    """UsageError where no workload has that name, or nothing would be in it."""
    if name not in WORKLOADS:
        raise UsageError(f"there is no generated workload {name!r}", f"workloads: {', '.join(NAMES)}")
    if requests < 1:
        raise UsageError(f"a trace of {requests} requests", "give 1 or more")
    found = list(islice(sent(WORKLOADS[name](Draws(seed))), requests))
    return Trace(name, MOONCAKE.key, "ms", False, BLOCK_TOKENS, "Generated", found)
