"""kvfpga lab report: the page, the JSON and the pictures of a finished run."""

from __future__ import annotations

from pathlib import Path

import click

from .app import App
from .output import echo
from .values import Number


@click.command(short_help="The page, JSON and pictures of a finished run.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@click.option("--block-bytes", type=Number(32), metavar="N",
              help="What a block weighs, for the bytes moved.  [default: a block of the device]")  # fmt: skip
@click.pass_obj
def report(app: App, folder: Path, block_bytes: int | None) -> None:
    """Write DIR/report.html, DIR/report.json and DIR/*.png from what `kvfpga lab run --out DIR` has finished.

    The page opens without a network. Runs in folders of DIR, such as `--out DIR/step50`, are compared with those of DIR in its
    sensitivity table, and what `kvfpga claims --out DIR` has measured gets a section.
    """
    from ..lab import report as reports

    if block_bytes == 0:
        raise click.BadParameter("a block of no bytes.", param_hint="--block-bytes")
    page = reports.write(folder, block_bytes, facts(app))
    found = {"command": "lab report", "page": str(page), "json": str(folder / reports.JSON)}
    app.present(found, lambda: echo(f"report: {page}"))


def facts(app: App) -> dict[str, str]:
    """What the report's numbers are repeated with, beside the lab itself: the RTL that the compiled device stands for."""
    from ..targets.target import rtl_sources
    from ..transport.sim.build import build_id

    size = app.target.filled().parameters
    return {"BUILD_ID": f"{build_id(size, rtl_sources()):#018x} (ENTRIES={size.entries}, LANES={size.lanes})"}
