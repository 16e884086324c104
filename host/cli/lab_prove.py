"""`kvfpga lab prove`: the compiled device, which the lab works with, held against a device."""

from __future__ import annotations

import click

from ..contract.errors import DifferenceError
from ..lab.device_policy import LEARNT, NAMES
from . import output
from .app import App, note, warn
from .values import TRACE, Number


@click.command(short_help="A trace on the device, touch by touch beside the lab.")
@click.argument("trace", metavar="TRACE", type=TRACE)
@click.option("--capacity", type=Number(32), help="Blocks that fit into T1.  [default: 4096, or all of a smaller device]")
@click.option("--limit", type=Number(32), default=200, show_default=True, help="Only the first so many requests.")
@click.option("--policy", type=click.Choice(NAMES), default=LEARNT, show_default=True,
              help="How the device decides what T1 holds.")  # fmt: skip
@click.option("--step-ms", type=float, default=100.0, show_default=True, help="Milliseconds of the trace for each decode step.")
@click.option("--time-unit", type=click.Choice(["s", "ms"]),
              help="Of the trace's timestamps.  [default: what its format says; asked for where it does not]")  # fmt: skip
@click.pass_obj
def prove(app: App, trace: str, capacity: int | None, limit: int, policy: str, step_ms: float, time_unit: str | None) -> None:
    """Replay the first requests of a trace on the device, in lockstep, and compare every touch with the lab's compiled device.

    \b
    kvfpga lab prove conversation.jsonl --capacity 4096 --limit 2000
    kvfpga --board u250 lab prove sample --policy linear:balanced

    TRACE as in `kvfpga lab run`. A simulation is one of its own, the session stays as it is; a board, or a device that
    `kvfpga serve` shares, is reset. Where a touch hits on the one and misses on the other, the first such touch is named and the
    exit code is 4, as where hardware and reference model differ.
    """
    from ..blackbox.attach import attach
    from ..lab import extra, sources

    extra.require("numba")
    from ..lab.prove import prove as proves
    from ..session.session import default_folder

    requests = sources.trace(trace, limit, time_unit)
    target = app.target.filled()
    with target.open(app.check, app.trace) as device:
        if target.is_board:
            note(f"{target.text} is reset, and keeps what the last request leaves there")
            device.reset()
        attach(device, target, (app.folder or default_folder(target)) / "failures")
        with app.progress("proving") as update:
            proof = proves(device, requests, policy, capacity, step_ms, update)
    app.present(proof.to_json(), lambda: output.echo(str(proof)))
    if proof.first is not None:
        warn(f"device and compiled device differ: {proof.verdict}")
        app.code = max(app.code, DifferenceError.exit_code)
