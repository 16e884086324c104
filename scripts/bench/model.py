"""The model's own speed against an older commit: clock cycles that nothing happens in, passes over a full directory, loading it,
DIGEST, and single reads. Results and clock cycles must be the same, or the two do not do the same work."""

from __future__ import annotations

from collections.abc import Callable

from . import workers
from .figures import Agreement, Figure, Report, Say, Series, alternate, beside
from .sizes import Sizes
from .workers import Version, Worker

SECTION = "model"
SIDES = ("today", "older")
Answers = dict[str, list[dict]]
"""What each side answered, round by round."""


def measure(sizes: Sizes, say: Say, baseline: Version) -> Report:
    say(f"opening the simulations, today's and that of {baseline.name}")
    with workers.simulation(workers.TODAY, sizes) as today, workers.simulation(baseline, sizes) as older:
        sides = dict(zip(SIDES, (today, older)))
        found = {
            "LOAD": loads(sizes, sides, say),  # first: the rest is measured over a full directory
            "idle clock": turns("idle", sides, sizes.rounds, say, cycles=sizes.idle),
            "STEP": turns("step", sides, sizes.rounds, say, count=sizes.steps),
            "DIGEST": turns("digest", sides, sizes.rounds, say, count=sizes.steps),
            "read32": turns("single", sides, sizes.rounds, say, count=sizes.single_reads),
        }
        versions = Agreement(SECTION, "versions", today.versions, older.versions)
    return Report(figures(found, sizes, baseline.name), [versions, *agreements(found)], [])


def turns(what: str, sides: dict[str, Worker], rounds: int, say: Say, **arguments: int) -> Answers:
    ways = {side: lambda worker=worker: worker.ask(what, **arguments) for side, worker in sides.items()}
    return alternate(rounds, ways, lambda text: say(f"{what}, {text}"))


def loads(sizes: Sizes, sides: dict[str, Worker], say: Say) -> Answers:
    """Every entry of both, a part of them a round."""
    part = sizes.entries // sizes.load_rounds
    done = dict.fromkeys(sides, 0)

    def load(side: str) -> dict:
        done[side] += part
        return sides[side].ask("load", first=done[side] - part, count=part)

    ways = {side: lambda side=side: load(side) for side in sides}
    return alternate(sizes.load_rounds, ways, lambda text: say(f"load, {text}"))


def figures(found: dict[str, Answers], sizes: Sizes, baseline: str) -> list[Figure]:
    def figure(what: str, unit: str, value: Callable[[dict], float], aim: float | None = None, name: str = "") -> Figure:
        ours, others = ([value(answer) for answer in found[what][side]] for side in SIDES)
        return beside(SECTION, Series(name or what, ours), unit, Series(baseline, others), aim)

    def cycles(answer: dict) -> float:
        return answer["cycles"] / answer["seconds"]

    def each(scale: float, count: float) -> Callable[[dict], float]:
        return lambda answer: scale * answer["seconds"] / count

    full = f"{sizes.entries:,} valid entries"
    return [
        figure("idle clock", "cycles/s", cycles, 6),
        figure("STEP", "cycles/s", cycles, 1.9, f"STEP over {full}"),
        figure("STEP", "ms", each(1e3, sizes.steps), name=f"STEP over {full}"),
        figure("LOAD", "µs", each(1e6, sizes.entries / sizes.load_rounds), 1.6),
        figure("DIGEST", "ms", each(1e3, sizes.steps), name=f"DIGEST of {full}"),
        figure("read32", "reads/s", lambda answer: sizes.single_reads / answer["seconds"]),
    ]


def agreements(found: dict[str, Answers]) -> list[Agreement]:
    cycles = [
        Agreement(SECTION, f"clock cycles: {what}", *(sum(answer["cycles"] for answer in of[side]) for side in SIDES))
        for what, of in found.items()
    ]
    digests = (found["DIGEST"][side][-1]["digest"] for side in SIDES)
    return [*cycles, Agreement(SECTION, "DIGEST", *digests)]
