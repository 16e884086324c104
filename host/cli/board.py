"""Commands about boards: board list|show|serve."""

from __future__ import annotations

import click

from . import output
from .app import App, usable
from .later import Group, Later
from .values import BOARD


@click.group(cls=Group)
def board() -> None:
    """Boards that kvfpga knows, and virtual ones.

    A board is a YAML file: how it is reached, what was built for it, where its tiers lie. `kvfpga board show NAME` prints
    one; put your own into the folder that KVFPGA_BOARDS names, or give a path: `kvfpga --board lab/my.yaml info`.
    """


@board.command("list")
@click.pass_obj
def list_boards(app: App) -> None:
    """All boards that --board NAME can name."""
    from ..targets import boards

    found = [*usable(boards.known(), boards.find_board)]
    header = ["name", "target", "entries", "lanes", "description"]
    rows = [(b.name, b.target, b.parameters.entries, b.parameters.lanes, b.description) for b in found]
    app.present(
        {"command": "board", "code": "OK", "boards": [dict(zip(header, row)) for row in rows]},
        lambda: output.print_table("boards", header, rows, ("entries", "lanes")),
    )


@board.command()
@click.argument("name", type=BOARD)
@click.pass_obj
def show(app: App, name: str) -> None:
    """The file of one board, checked."""
    from ..contract import inputs
    from ..targets import boards

    found = boards.find_board(name)
    text = inputs.read_text(found.file)
    app.present(
        {"command": "board", "code": "OK", "name": found.name, "file": str(found.file), "text": text,
         "build_id": found.expected_build_id()},
        lambda: output.echo(f"# {found.file}\n{text}", end=""),
    )  # fmt: skip


class Serve(Later):
    places = {"uart": "serve_uart", "xdma": "serve_xdma"}


@board.command(cls=Serve)
def serve() -> None:
    """A virtual board: the same RTL, simulated behind a serial port or behind the XDMA driver's nodes."""
