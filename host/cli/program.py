"""The command that puts a bitstream on a board: program."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..contract.errors import UsageError
from . import output
from .app import App


@click.command("program")
@click.argument("bitstream", type=click.Path(path_type=Path), required=False)
@click.option("--cable", help="Cable, as openFPGALoader names it.")
@click.option("--board-name", help="Board, as openFPGALoader names it.")
@click.option("--flash", is_flag=True, help="Write the board's flash memory: the bitstream survives power-off.")
@click.pass_obj
def program(app: App, bitstream: Path | None, cable: str | None, board_name: str | None, flash: bool) -> None:
    """Load BITSTREAM with openFPGALoader. With --board NAME in front, the board file says what it does not."""
    from ..targets.bitstream import program as load

    board = app.target.board
    if board:
        bitstream = bitstream or board.bitstream
        if not cable and not board_name:
            cable, board_name = board.program_cable, board.program_board
    if not bitstream:
        raise UsageError("which bitstream?", "give its file, or `--board NAME` in front of the command")
    load(bitstream, cable, board_name, flash, output=sys.stderr.fileno())
    done = {"command": "program", "code": "OK", "bitstream": str(bitstream), "flash": flash}
    app.present(done, lambda: output.echo(f"{bitstream} is {'in the flash memory' if flash else 'loaded'}"))
