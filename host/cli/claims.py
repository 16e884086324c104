"""kvfpga claims: the design figures, measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..contract.errors import UsageError
from . import output
from .app import App

if TYPE_CHECKING:
    from ..claims import Claim


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Keep them there, for the report that `kvfpga lab report DIR` writes.")  # fmt: skip
@click.pass_obj
def claims(app: App, out: Path | None) -> None:
    """Measure what the design claims: each figure of contract section 6, and the verdict on it.

    It begins simulations of its own, of the size that --entries and --lanes say, and takes minutes; the session stays as it is.
    What a simulation cannot show, such as a clock or power, is named and not guessed.
    """
    from .. import claims as all_claims
    from ..lab.cells import write_whole
    from ..lab.report import CLAIMS

    if app.target.kind != "sim":
        raise UsageError(f"claims are measured on a simulation, and --target {app.target.text} is none", "use --target sim")
    if not app.check:
        raise UsageError("--no-check: claims are measured in lockstep with the reference model", "leave it out")
    if out:
        out.mkdir(parents=True, exist_ok=True)  # to be told now that it cannot be, and not in some minutes
    target = app.target.filled()
    size = target.parameters
    with target.open_lockstep() as first:
        build = f"{first.device.identity.build_id:#018x}"
    on = f"the Verilated RTL, ENTRIES={size.entries}, LANES={size.lanes}, BUILD_ID {build}"
    with app.progress("measuring claims") as update:
        found = all_claims.measure(target.open_lockstep, on, update)
    shown = {"command": "claims", "on": on, "claims": [claim.to_json() for claim in found]}
    app.present(shown, lambda: _print(found))
    if out:
        write_whole(out / CLAIMS, (json.dumps(shown, indent=1) + "\n").encode())


def _print(found: list[Claim]) -> None:
    on = next(claim.on for claim in found if claim.on)
    rows = [(claim.claim, claim.source, claim.measured, claim.verdict) for claim in found]
    output.print_table(f"Measured on {on}", ("claim", "what", "measured", "verdict"), rows)
