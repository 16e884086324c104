"""kvfpga lab tune: better numbers for a device's policy, if there are any."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import click

from ..contract.wording import counted
from . import output
from .app import App
from .lab_run import LIMIT, TIME_UNIT
from .values import TRACE, Number

if TYPE_CHECKING:
    from ..lab.tune import Tuned


@click.command(short_help="Better numbers for a device's policy, if there are any.")
@click.argument("trace", metavar="TRACE", type=TRACE)
@click.option("--policy", type=click.Choice(["linear", "ranked"]), default="linear", show_default=True,
              help="linear: weights, thresholds, window. ranked: the learner's constants.")  # fmt: skip
@click.option("--capacity", type=Number(32), default=4096, show_default=True, help="Blocks that fit into T1.")
@click.option("--trials", type=Number(32), default=100, show_default=True, help="Sets of values to try.")
@click.option("--seed", type=Number(32), default=0, show_default=True, help="Of the search: the same one tries the same values.")
@click.option("--entries", type=Number(32), default=65536, show_default=True, help="Directory entries of the device.")
@click.option("--step-ms", type=float, default=100.0, show_default=True, help="Milliseconds of the trace for each decode step.")
@LIMIT
@TIME_UNIT
@click.pass_obj
def tune(
    app: App, trace: str, policy: str, capacity: int, trials: int, seed: int, entries: int, step_ms: float, limit: int | None,
    time_unit: str | None,
) -> None:  # fmt: skip
    """Search for better weights and thresholds of the linear policy, or constants of the learner, by Optuna.

    TRACE as in `kvfpga lab run`. The first half of its requests chooses, the second half judges: what is reported of the second
    half had no part in the choice.
    """
    from ..lab import extra

    extra.require("numba", "optuna")
    from ..lab import runs, sources
    from ..lab import tune as tuning
    from ..lab.policies.contender import Options

    options = Options(entries, step_ms).checked()
    stream = sources.opened(trace, limit, time_unit).stream
    runs.capacities(str(capacity), len(stream.ids), entries)
    begun = monotonic()
    with app.progress("trials") as update:
        tuned = tuning.tune(stream, policy, capacity, options, trials, seed, update)
    found = {
        "command": "lab tune", "trace": stream.name, "policy": policy, "capacity": capacity, "trials": trials, "seed": seed,
        "entries": entries, "step_ms": step_ms, **tuned._asdict(), "seconds": round(monotonic() - begun, 3),
    }  # fmt: skip
    app.present(found, lambda: _print(f"{policy} on {stream.name}, T1 of {counted(capacity, 'block')}", tuned))


def _print(title: str, tuned: Tuned) -> None:
    rows = [(name, f"{tuned.default[name]:g}", f"{tuned.chosen[name]:g}") for name in tuned.chosen]
    halves = ("first half, which chose", tuned.first_half), ("second half, which judges", tuned.second_half)
    for (half, scores), requests in zip(halves, tuned.requests, strict=True):
        label = f"hits in the {half} ({counted(requests, 'request')})"
        rows.append((label, f"{scores['default']:.2%}", f"{scores['chosen']:.2%}"))
    output.print_table(title, ("value", "usual", "chosen"), rows, right=("usual", "chosen"))
