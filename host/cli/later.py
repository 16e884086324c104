"""Groups whose commands are imported when they are asked for: a process runs one of them, and all of them need half of kvfpga."""

from __future__ import annotations

import importlib
import keyword

import click


class Later(click.Group):
    """`places`: in which module of kvfpga.cli each command is, in the order of the help. The command has its own name there."""

    places: dict[str, str] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.places:
            return None
        module = importlib.import_module(f".{self.places[name]}", __package__)
        found: click.Command = getattr(module, name + "_" * keyword.iskeyword(name))
        return found
