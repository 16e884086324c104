"""`kvfpga board serve xdma`: a virtual XDMA board."""

from __future__ import annotations

from pathlib import Path

import click

from ..targets.target import rtl_sources
from . import output
from .app import App, note
from .values import Number


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--entries", type=Number(32), default=65536, show_default=True, help="Directory entries, 256 to 65536.")
@click.option("--lanes", type=Number(32), default=8, show_default=True, help="Entries that a pass handles per cycle, 1 to 16.")
@click.option("--data-bits", type=Number(32), default=512, show_default=True, help="Width of the memory bus.")
@click.option("--seed", type=Number(32), default=0, show_default=True, help="Of memory latency and power-up values.")
@click.option("--inject", "faults", multiple=True, metavar="KIND@N[:X]",
              help="A fault at access N: ones@N[:COUNT] (a dead link), stall@N:SECONDS, reset@N, gone@N, eio@N.")  # fmt: skip
@click.pass_obj
def xdma(
    app: App, folder: Path, entries: int, lanes: int, data_bits: int, seed: int, faults: tuple[str, ...]
) -> None:
    """Nodes in DIR that behave as those of the XDMA driver, with the simulated RTL behind them.

    Serves until Ctrl-C. The target to use is printed once the nodes are there.
    """
    from ..transport.sim.verilated import VerilatorSim
    from ..transport.virtual.xdma import fault, serve

    def ready() -> None:
        note("tools that map the user node (reg_rw) do not work here; pread, pwrite and `kvfpga reg` do")
        target = f"xdma:{folder}"
        app.present({"command": "board", "code": "OK", "target": target}, lambda: output.echo(target))

    wrong = [fault(text) for text in faults]
    with VerilatorSim(entries, lanes, data_bits, seed, sources=rtl_sources()) as sim:
        serve(folder, sim, wrong, ready)
