"""`kvfpga bringup`: what to run first on a new board."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..contract.errors import KvfpgaError, UsageError
from . import output
from .app import App, warn
from .values import Number

if TYPE_CHECKING:
    from ..bringup import Report
    from ..targets.target import Target
    from ..transport.mmio import Mmio

STEPS = ("identity", "registers", "memory", "directory", "link", "commands", "speed")
"""Those of `kvfpga.bringup`, which is only imported when it is wanted."""


@click.command()
@click.option("--only", multiple=True, type=click.Choice(STEPS), metavar="STEP", help="Only this step; may be repeated.")
@click.option("--skip", multiple=True, type=click.Choice(STEPS), metavar="STEP", help="Not this step; may be repeated.")
@click.option("--memory", type=click.Choice(["sample", "full"]), default="sample", show_default=True,
              help="March over samples of each tier, or over all of it.")  # fmt: skip
@click.option("--memory-bytes", type=Number(64), default=1 << 20, show_default=True, help="Size of the sample of each tier.")
@click.option("--directory-entries", type=Number(32), metavar="N",
              help="Entries in the directory march; ENTRIES or more: all.  [default: all up to 4096, else 1024]")  # fmt: skip
@click.option("--link-words", type=Number(32), default=20_000, show_default=True, help="Words read for the error rate.")
@click.option("--build-id", type=Number(64), help="The BUILD_ID to expect.  [default: what the target should have]")
@click.option("--force", is_flag=True, help="Even if the directory holds blocks.")
@click.pass_obj
def bringup(
    app: App, only: tuple[str, ...], skip: tuple[str, ...], memory: str, memory_bytes: int, directory_entries: int | None,
    link_words: int, build_id: int | None, force: bool,
) -> None:  # fmt: skip
    """Bring up a board: identity, registers, memory, directory, link, commands, speed.

    It overwrites the memory of all tiers, needs an empty directory (or --force), and leaves the device reset. The steps
    are identity, registers, memory, directory, link, commands and speed; identity is always done. Every row of the report
    says what to look at if it failed. The exit code is 3 if a check failed, 4 if hardware and reference model differed.
    """
    from .. import bringup as bringups

    if app.target.kind == "model":
        raise UsageError("bringup: the reference model has no hardware to bring up", "use --target sim, or a board")
    if app.trace:
        raise UsageError("--trace: a bring-up records no waveform", "`kvfpga --trace FILE run SCRIPT` does")
    target = app.target.filled()
    options = bringups.Options(
        only=only, skip=skip, memory_bytes=None if memory == "full" else memory_bytes, directory_entries=directory_entries,
        link_words=link_words, force=force, tier_bases=target.board.tiers if target.board else None,
    )  # fmt: skip
    with target.open_mmio() as plain:
        mmio = target.telling(plain)
        expected = _expected_build(target, plain) if build_id is None else build_id
        try:
            with app.progress("bringup") as update:
                report = bringups.run(mmio, options, expected, update)
        except KvfpgaError as error:
            if isinstance(error.partial, bringups.Report):
                _show(app, error.partial)
            raise
    _show(app, report)
    if not report.ok:
        warn(report.summary())
    app.code = max(app.code, report.exit_code)


def _expected_build(target: Target, mmio: Mmio) -> int | None:
    """The BUILD_ID of this kvfpga's RTL with the parameters of the board file, or else with those that the device shows.
    None where it shows none that make sense: then the report says so."""
    from ..device.device import Device
    from ..targets.target import rtl_sources
    from ..transport.mmio import Simulation

    if not target.is_board and isinstance(mmio, Simulation):
        return mmio.build_id
    try:
        return target.board.expected_build_id(rtl_sources()) if target.board else target.expected_build_id(Device(mmio).identity)
    except KvfpgaError:
        return None


def _show(app: App, report: Report) -> None:
    app.present(report.to_json(), lambda: output.print_rich(report.table()))
