"""The model's own speed against an older commit: clock cycles that nothing happens in, passes over a full directory, loading it,
DIGEST, and single reads. Results and clock cycles must be the same, or the two do not do the same work."""

from __future__ import annotations

from . import workers
from .figures import Agreement, Report, Say, Series, alternate, beside
from .sizes import Sizes
from .workers import Version, Worker

SECTION = "model"


def measure(sizes: Sizes, say: Say, baseline: Version) -> Report:
    say(f"opening the simulations, today's and that of {baseline.name}")
    with workers.simulation(workers.TODAY, sizes) as today, workers.simulation(baseline, sizes) as older:
        sides = {"today": today, "baseline": older}
        found = loads(sizes, sides, say)
        for name, what, arguments in (
            ("idle", "idle", {"cycles": sizes.idle}),
            ("STEP", "step", {"count": sizes.steps}),
            ("DIGEST", "digest", {"count": sizes.steps}),
            ("read32", "single", {"count": sizes.single_reads}),
        ):
            found[name] = turns(sizes.rounds, sides, what, arguments, lambda text, name=name: say(f"{name}, {text}"))
    agreements = [
        Agreement(SECTION, f"clock cycles: {name}", *([answer["cycles"] for answer in of[side]] for side in sides))
        for name, of in found.items()
    ]
    digests = ({answer["digest"] for answer in found["DIGEST"][side]} for side in sides)
    agreements.append(Agreement(SECTION, "DIGEST", *(sorted(found) for found in digests)))

    def figure(what: str, name: str, unit: str, value, aim: float | None = None):
        ours, others = ([value(answer) for answer in found[what][side]] for side in sides)
        return beside(SECTION, Series(name, ours), unit, Series(baseline.name, others), aim)

    def cycle_rate(answer: dict) -> float:
        return answer["cycles"] / answer["seconds"]

    full = f"{sizes.entries:,} valid entries"
    figures = [
        figure("idle", "idle clock", "cycles/s", cycle_rate, 6),
        figure("STEP", f"STEP over {full}", "cycles/s", cycle_rate, 1.9),
        figure("STEP", f"STEP over {full}", "ms", lambda answer: 1e3 * answer["seconds"] / sizes.steps),
        figure("LOAD", "LOAD", "µs", lambda answer: 1e6 * answer["seconds"] * sizes.load_rounds / sizes.entries, 1.6),
        figure("DIGEST", f"DIGEST of {full}", "ms", lambda answer: 1e3 * answer["seconds"] / sizes.steps),
        figure("read32", "read32", "reads/s", lambda answer: sizes.single_reads / answer["seconds"]),
    ]
    return Report(figures, agreements, [])


def loads(sizes: Sizes, sides: dict[str, Worker], say: Say) -> dict[str, dict[str, list[dict]]]:
    """Every entry of both, a part of them a round."""
    part = sizes.entries // sizes.load_rounds
    done = dict.fromkeys(sides, 0)

    def load(side: str) -> dict:
        done[side] += part
        return sides[side].ask("load", first=done[side] - part, count=part)

    ways = {side: lambda side=side: load(side) for side in sides}
    return {"LOAD": alternate(sizes.load_rounds, ways, lambda text: say(f"LOAD, {text}"))}


def turns(rounds: int, sides: dict[str, Worker], what: str, arguments: dict, say: Say) -> dict[str, list[dict]]:
    ways = {side: lambda worker=worker: worker.ask(what, **arguments) for side, worker in sides.items()}
    return alternate(rounds, ways, say)
