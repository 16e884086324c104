"""Replay of a real trace in lockstep, as `kvfpga replay` does it, against an older commit. The trace is no part of the
repository: it is looked for in the folder that KVFPGA_TRACES names, else in shared/traces beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

from kvfpga.lab.device_policy import RANKED_AGE

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
    """Three sides: today's replay as the older commit has it too, the older commit's, and today's with the ranked policy, which
    the older one does not have: its commands a second are beside those of the older one's replay."""
    trace = trace_folder() / TRACE
    if not trace.is_file():
        note = f"no replay: {TRACE} is not in {trace.parent}; set KVFPGA_TRACES to the folder of the real traces"
        return Report([], [], [note])
    say(f"opening the simulations, today's and that of {baseline.name}")
    with workers.simulation(workers.TODAY, sizes) as today, workers.simulation(baseline, sizes) as older:
        task = {"trace": str(trace), "requests": sizes.requests, **sizes.device}
        ways = {
            "today": lambda: today.ask("replay", **task),
            "older": lambda: older.ask("replay", **task),
            "ranked": lambda: today.ask("replay", policy=RANKED_AGE, **task),
        }
        found = alternate(sizes.replays, ways, lambda text: say(f"replay of {sizes.requests} requests, {text}"))
    rates = {side: [answer["commands"] / answer["seconds"] for answer in answers] for side, answers in found.items()}
    name, other = f"replay of {sizes.requests} conversations' requests", Series(baseline.name, rates["older"])
    figures = [
        beside(SECTION, Series(name, rates["today"]), "commands/s", other, 4),
        beside(SECTION, Series(f"{name}, {RANKED_AGE}", rates["ranked"]), "commands/s", other, 3),
    ]
    agreements = [Agreement(SECTION, what, found["today"][0][what], found["older"][0][what]) for what in SAME]
    return Report(figures, agreements, [])
