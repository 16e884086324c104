"""What the lockstep's check of a STEP over a full directory costs: beside the same STEP without it, and beside an older commit's,
alone, where a DIGEST looks at the directory, and in a run of STEPs, where each looks at what the one before has left (R25).
The parts of it are measured one by one, to see where the time goes."""

from __future__ import annotations

from . import workers
from .figures import Report, Say, Series, alone, alternate, beside
from .sizes import Sizes
from .workers import Version, Worker

SECTION = "check"
PARTS = {  # in this order: the model catches up with the device's STEPs
    "device: STEP, result, completions": "step",
    "model: STEP": "model_step",
    "device: DIGEST": "digest",
    "model: digest": "model_digest",
    "device: telemetry": "telemetry",
}


def measure(sizes: Sizes, say: Say, baseline: Version) -> Report:
    say(f"opening the simulations, today's and that of {baseline.name}")
    with workers.simulation(workers.TODAY, sizes) as today, workers.simulation(baseline, sizes) as older:
        for worker in (today, older):
            say(f"loading {sizes.entries:,} blocks into {worker.name}")
            worker.ask("follow_load", first=0, count=sizes.entries)

        def follow(worker: Worker, check: bool):
            return lambda: each(worker.ask("follow_step", count=sizes.steps, check=check))

        def each(answer: dict) -> float:
            return 1e3 * answer["seconds"] / sizes.steps

        def parts() -> list[float]:
            return [each(today.ask(what, count=sizes.steps)) for what in PARTS.values()]

        def run(check: bool):
            return lambda: 1e3 * today.ask("follow_run", count=sizes.run_of_steps, check=check)["seconds"] / sizes.run_of_steps

        ways = {
            "bare": follow(today, False), "checked": follow(today, True), "older": follow(older, True),
            "run": run(False), "checked run": run(True),
        }  # fmt: skip
        found = alternate(sizes.rounds, ways, lambda text: say(f"STEP with and without the check, {text}"))
        of_parts = alternate(sizes.rounds, {"parts": parts}, lambda text: say(f"its parts, {text}"))["parts"]
        for worker in (today, older):
            worker.ask("verify")
    bare, checked = Series("STEP without check", found["bare"]), Series("STEP with the full check", found["checked"])
    run_of = f"STEP in a run of {sizes.run_of_steps}"
    bare_run, checked_run = Series(f"{run_of}, without check", found["run"]), Series(f"{run_of}, checked", found["checked run"])
    figures = [
        alone(SECTION, bare, "ms"),
        beside(SECTION, checked, "ms", bare),
        alone(SECTION, bare_run, "ms"),
        beside(SECTION, checked_run, "ms", bare_run, 1.25, at_most=True),
        beside(SECTION, checked, "ms", Series(baseline.name, found["older"])),
        *(alone(SECTION, Series(name, times), "ms") for name, times in zip(PARTS, zip(*of_parts))),
    ]
    return Report(figures, [], [])
