"""`kvfpga handoff`: from a difference on a board to the simulation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..contract.wording import counted
from . import output
from .app import App

if TYPE_CHECKING:
    from ..blackbox.handoff import Finding


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="FOLDER|RECORDING")
@click.option("--no-shrink", is_flag=True, help="Do not look for a shorter list of commands.")
@click.pass_obj
def handoff(app: App, path: Path, no_shrink: bool) -> None:
    """Do again on the Verilated RTL what went wrong on a board.

    FOLDER is the failure folder that a difference on a board left. It says whether the difference shows in the simulation of the
    same design, where the board's answers part from the RTL's, and leaves the shortest list of commands that makes
    it and a waveform. RECORDING is a file of `--record` that began with `reset`: its calls are made again and compared.
    """
    from ..blackbox import handoff as handoffs

    if path.is_file():
        finding = handoffs.replay_file(path)
    else:
        with app.progress("handoff") as update:
            finding = handoffs.investigate(path, not no_shrink, update)
    app.present(finding.to_json(), lambda: _print(finding, path))


def _print(finding: Finding, path: Path) -> None:
    if finding.shows is not None:
        output.echo(f"It {'shows' if finding.shows else 'does not show'} in the simulation of the RTL.")
    if finding.difference:
        output.echo(finding.difference)
    if finding.first_calls:
        header = ["line", "call", "where", "board", "rtl"]
        rows = [[call[name] for name in header] for call in finding.first_calls]
        output.print_table("answers that differ between board and RTL", header, rows, ("line",))
    else:
        output.echo("Every recorded call is answered by the RTL as the board answered it.")
    if finding.minimal:
        enough = f"{len(finding.minimal)} of {counted(finding.commands, 'command')}"
        output.echo(f"Enough to show it: {enough} ({path / 'minimal.kvfpga'}):")
        for text in finding.minimal:
            output.echo(f"  {text}")
    if finding.waveform:
        output.echo(f"waveform of the last command: {finding.waveform}")
    for note in finding.notes:
        output.echo(note)
