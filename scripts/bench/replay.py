"""Replay of a real trace in lockstep, as `kvfpga replay` does it, against an older commit. The trace is no part of the
repository: it is looked for in the folder that KVFPGA_TRACES names, else in shared/traces beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

from . import workers
from .figures import Agreement, Report, Say, Series, alternate, beside
from .sizes import Sizes
from .workers import ROOT, Version

SECTION = "replay"
TRACE = "mooncake_conversation.jsonl"
SAME = ("commands", "cycles", "checks", "differences", "counters")


def trace_folder() -> Path:
    return Path(os.environ.get("KVFPGA_TRACES") or ROOT.parent / "shared" / "traces")


def measure(sizes: Sizes, say: Say, baseline: Version) -> Report:
    trace = trace_folder() / TRACE
    if not trace.is_file():
        note = f"no replay: {TRACE} is not in {trace.parent}; set KVFPGA_TRACES to the folder of the real traces"
        return Report([], [], [note])
    say(f"opening the simulations, today's and that of {baseline.name}")
    with workers.simulation(workers.TODAY, sizes) as today, workers.simulation(baseline, sizes) as older:
        task = {"trace": str(trace), "requests": sizes.requests, **sizes.device}
        ways = {side: lambda worker=worker: worker.ask("replay", **task) for side, worker in (("today", today), ("older", older))}
        found = alternate(sizes.replays, ways, lambda text: say(f"replay of {sizes.requests} requests, {text}"))
    ours, others = ([answer["commands"] / answer["seconds"] for answer in found[side]] for side in ("today", "older"))
    name = f"replay of {sizes.requests} conversations' requests"
    figure = beside(SECTION, Series(name, ours), "commands/s", Series(baseline.name, others), 4)
    agreements = [Agreement(SECTION, what, found["today"][0][what], found["older"][0][what]) for what in SAME]
    return Report([figure], agreements, [])
