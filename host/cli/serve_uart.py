"""`kvfpga board serve uart`: a virtual UART board."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from ..contract.errors import UsageError
from ..transport.uart.link import BAUD
from . import output
from .app import App, note
from .signals import on_signal
from .values import Number

RATE = click.FloatRange(0, 1)


@click.command()
@click.option("--entries", type=Number(32), default=256, show_default=True, help="Directory entries, 256 to 65536.")
@click.option("--lanes", type=Number(32), default=1, show_default=True, help="Entries that a pass handles per cycle, 1 to 16.")
@click.option("--baud", type=Number(32), default=BAUD, show_default=True, help="Rate that the board is built for.")
@click.option("--clock-hz", type=Number(32), default=50_000_000, show_default=True,
              help="Its clock. Fewer clock cycles a bit simulate quicker; 8 is the least.")  # fmt: skip
@click.option("--link", type=click.Path(path_type=Path), help="Make a symbolic link with this name to the port.")
@click.option("--flip", type=RATE, default=0.0, help="Share of bytes with a wrong bit, 0 to 1, in either direction.")
@click.option("--drop", type=RATE, default=0.0, help="Share of bytes that are lost.")
@click.option("--double", type=RATE, default=0.0, help="Share of bytes that come twice.")
@click.option("--delay", type=RATE, default=0.0, help="Share of bytes that come late.")
@click.option("--seed", type=Number(32), default=0, show_default=True, help="Of faults and power-up values.")
@click.option("--inject", "incidents", multiple=True, metavar="KIND@N[:X]",
              help="At the N-th byte received: stall@N[:SECONDS], reset@N, unplug@N.")  # fmt: skip
@click.option("--wave", type=click.Path(dir_okay=False, path_type=Path), help="A waveform (.fst or .vcd) of it all.")
@click.pass_obj
def uart(
    app: App, entries: int, lanes: int, baud: int, clock_hz: int, link: Path | None, flip: float, drop: float, double: float,
    delay: float, seed: int, incidents: tuple[str, ...], wave: Path | None,
) -> None:  # fmt: skip
    """A serial port with the bring-up build behind it: the RTL that goes onto a ULX3S, every bit on its pins simulated.

    Serves until Ctrl-C. The target to use is printed once the port is there. With `--board NAME` before the command, the
    sizes are those of the board file.
    """
    from ..contract.parameters import Parameters
    from ..targets.target import rtl_root_in_use
    from ..transport.virtual.uart import SMALL, Incident, LineFaults, VirtualUartBoard

    small = Parameters(entries, lanes, SMALL.data_bits, SMALL.block_tokens, SMALL.head_dim, SMALL.classes)
    sizes = app.target.board.parameters if app.target.board else small
    board = VirtualUartBoard(
        sizes, clock_hz, baud, LineFaults(flip, drop, double, delay), [Incident.parse(text) for text in incidents], seed, wave,
        rtl_root_in_use(),
    )  # fmt: skip
    with contextlib.ExitStack() as cleaning:
        cleaning.callback(board.close)
        cleaning.enter_context(on_signal(board.stop))
        port = _linked(board.port, link, cleaning) if link else board.port
        target = f"uart:{port}@{baud}"
        app.present({"command": "board", "code": "OK", "target": target}, lambda: output.echo(target))
        board.serve()
    note("at its pins: " + ", ".join(f"{name} {count:,}" for name, count in board.statistics().items() if count))


def _linked(port: str, link: Path, cleaning: contextlib.ExitStack) -> str:
    """Make the symbolic link, replacing one that a killed board left; gone again in the end."""
    with contextlib.suppress(OSError):
        if os.readlink(link).startswith("/dev/pts/") and not link.exists():
            link.unlink()
    try:
        link.symlink_to(port)
    except OSError as error:
        remedy = "name a new file in a folder of yours, or remove a link at which no board serves any more"
        raise UsageError(f"cannot make the link {link}: {error.strerror}", remedy) from error
    cleaning.callback(link.unlink, missing_ok=True)
    return str(link)
