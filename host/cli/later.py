"""Groups of commands: imported when they are asked for, described without being cut off, the same options behind each.

A process runs one command, and all of them need half of kvfpga.
"""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Iterable

import click

from ..contract.wording import meant
from .options import take_behind


class Group(click.Group):
    """Its help describes each command by the whole first sentence of its own; each takes the options of every command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if not (ctx.resilient_parsing or args[0].startswith("-") or args[0] in (names := self.list_commands(ctx))):
            ctx.fail(f"No such command {args[0]!r}{meant(args[0], [*names, '--help']) or '.'}")
        name, command, rest = super().resolve_command(ctx, args)
        if command and (ctx.resilient_parsing or any(word.startswith("-") for word in rest)):  # making options takes time
            take_behind(command)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_section(ctx, formatter, "Commands", self.list_commands(ctx))

    def format_section(self, ctx: click.Context, formatter: click.HelpFormatter, title: str, names: Iterable[str]) -> None:
        rows = [(name, command.get_short_help_str(LONGEST)) for name in names if (command := self.get_command(ctx, name))]
        with formatter.section(title):
            formatter.write_dl(rows)


LONGEST = 300
"""Characters of a first sentence."""


class Later(Group):
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
