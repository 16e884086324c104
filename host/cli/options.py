"""The options of every command, and where their values come from.

They stand before the command or behind it: `kvfpga --json step 5`, `kvfpga step 5 --json`. A command that has an option of the
same name keeps its own there (`kvfpga lab run --entries`). A value is taken from the command line, else from the environment,
else from the configuration file (config_file.py). `--target` and `--board` say the same thing, which device, so they are looked
for together: whoever names one on the command line is not given the other out of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contract.errors import UsageError
from ..contract.parameters import DEFAULT
from ..targets.kinds import KINDS
from ..targets.target import Target, parse_target
from . import config_file
from .values import BOARD, TARGET, Size, Waveform

if TYPE_CHECKING:
    from ..targets.boards import Board
    from .app import App


class Source(IntEnum):
    """Where a value comes from; the larger one counts."""

    NOWHERE = 0
    FILE = 1
    ENVIRONMENT = 2
    OPTION = 3


@dataclass(eq=False, repr=False)  # compiling those takes time at every start
class Options:
    """What was asked for. `sources` says of each name where its value comes from; `file` is the configuration file, where there
    is one."""

    target: str | None = None
    board: str | None = None
    entries: int | None = None
    lanes: int | None = None
    session: Path | None = None
    recover: bool = False
    json: bool = False
    no_check: bool = False
    record: Path | None = None
    trace: Path | None = None
    verbose: int = 0
    quiet: bool = False
    log: Path | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    file: Path | None = None

    def having(self, name: str, value: object, source: Source) -> Options:
        """The same with another value."""
        changed: dict[str, Any] = {name: value, "sources": {**self.sources, name: source}}
        return replace(self, **changed)

    @cached_property
    def device(self) -> Target:
        """The device that they name together. UsageError where they name none."""
        target, board = self.named.get("target"), self.named.get("board")
        try:
            found = parse_target(target, self.entries, self.lanes, _board(board))
        except UsageError as error:
            raise UsageError(error.message, "; ".join(filter(None, [error.remedy, self._origin()]))) from None
        if self.trace and found.kind == "model":
            raise UsageError("--trace: the reference model has no signals to record", "use --target sim")
        if self.record and found.kind == "model":
            raise UsageError("--record: the reference model has no accesses to record", "use --target sim, or a board")
        if self.quiet and self.verbose and not self.log:
            raise UsageError("--quiet shows less, --verbose more", "leave one of them out; --log FILE has the calls in a file")
        return replace(found, record=self.record, log=bool(self.verbose or self.log))

    @property
    def named(self) -> dict[str, str]:
        """What names the device: target, board, or both."""
        given = {name: value for name, value in (("target", self.target), ("board", self.board)) if value is not None}
        best = max((self._source(name) for name in given), default=Source.NOWHERE)
        return {name: value for name, value in given.items() if self._source(name) == best}

    def of_file(self) -> dict[str, Any]:
        """What is in force because the configuration file says so."""
        device = self.named
        in_force = {name: getattr(self, name) for name in config_file.KEYS if name not in ("target", "board")} | device
        return {name: value for name, value in in_force.items() if self._source(name) == Source.FILE}

    def _source(self, name: str) -> Source:
        return self.sources.get(name, Source.NOWHERE)

    def _origin(self) -> str:
        """What to tell somebody who did not type what names the device."""
        where = {Source.FILE: f"{self.file} says", Source.ENVIRONMENT: "the environment says"}
        named = [(name, value, self._source(name)) for name, value in self.named.items()]
        return ", ".join(f"{where[source]} {name} = {value}" for name, value, source in named if source in where)


def _board(name: str | None) -> Board | None:
    """What --board names; reading it takes libraries that other starts do without."""
    if name is None:
        return None
    from ..targets.boards import find_board

    return find_board(name)


# ---- as click knows them ---------------------------------------------------------------------------------------------

FILE = click.Path(dir_okay=False, path_type=Path)
TABLE: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--target",), dict(
        type=TARGET, envvar="KVFPGA_TARGET", metavar="TARGET",
        help=", ".join(kind.form for kind in KINDS.values()) + ": the simulated RTL in lockstep with the reference model, the "
             "model alone, a board, or a served device.  [default: sim, or what --board says]")),
    (("--board",), dict(
        type=BOARD, envvar="KVFPGA_BOARD", metavar="NAME", help="A board by its name or YAML file (`kvfpga board list`).")),
    (("--entries",), dict(type=Size("entries"), help=f"Directory entries, 256 to 65536.  [default: {DEFAULT.entries}]")),
    (("--lanes",), dict(
        type=Size("lanes"), help=f"Entries that a pass handles per cycle, 1 to 16.  [default: {DEFAULT.lanes}]")),
    (("--session",), dict(
        type=click.Path(file_okay=False, path_type=Path), envvar="KVFPGA_SESSION", metavar="DIR",
        help="Where the state between commands lives.  [default: per user, target and size]")),
    (("--recover",), dict(is_flag=True, help="Where the session is damaged, go on from the newest state in it that is whole.")),
    (("--json/--no-json",), dict(
        default=None, envvar="KVFPGA_JSON", help="One JSON object per command on stdout, nothing else there.")),
    (("--no-check",), dict(is_flag=True, help="Do not compare with the reference model.")),
    (("--record",), dict(type=FILE, metavar="FILE", help="Write every access to the device into FILE, for `kvfpga handoff`.")),
    (("--trace",), dict(type=Waveform(), metavar="FILE", help="Record a waveform (.fst or .vcd).")),
    (("--verbose", "-v"), dict(
        count=True, help="Show every call to the device, with its time; -vv shows each access inside a batch, too.")),
    (("--quiet", "-q"), dict(is_flag=True, help="Show results and errors, no notes.")),
    (("--log",), dict(type=FILE, metavar="FILE", help="Append what --verbose shows to FILE, with the time of day.")),
)  # fmt: skip
"""One row an option: its names, and what click.Option is told besides."""
MAY_CHANGE = {"json"}
"""What a line of a script or of the shell may say for itself: the device is open already."""


def name_of(names: tuple[str, ...]) -> str:
    """The field of `Options` that an option is about."""
    return names[0].split("/")[0].removeprefix("--").replace("-", "_")


def before_the_command() -> list[click.Parameter]:
    """The options as those of `kvfpga` itself."""
    return [click.Option([*names, name_of(names)], **more) for names, more in TABLE]


def options_of(ctx: click.Context, given: Mapping[str, Any]) -> Options:
    """What stands before the command, in the environment, and in the configuration file."""
    from click.core import ParameterSource

    is_from = {ParameterSource.COMMANDLINE: Source.OPTION, ParameterSource.ENVIRONMENT: Source.ENVIRONMENT}
    found = Options()
    if file := config_file.read():
        found = replace(found, file=file.path)
        for name, value in file.values.items():
            found = found.having(name, value, Source.FILE)
    for name, value in given.items():
        if source := is_from.get(ctx.get_parameter_source(name) or ParameterSource.DEFAULT):
            found = found.having(name, value, source)
    return found


class Behind(click.Option):
    """One of the options behind the command. `kvfpga --help` describes it, the help of each command only mentions that."""

    def __init__(self, names: tuple[str, ...], more: dict[str, Any]):
        take = _taker(name_of(names), names[0].split("/")[0])
        more = {**more, "envvar": None, "default": None, "expose_value": False, "callback": take}
        super().__init__([*names, f"behind_{name_of(names)}"], **more)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return None


def _taker(name: str, shown: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def take(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None and not ctx.resilient_parsing:
            app: App = ctx.obj
            app.take(name, value, shown)

    return take


@cache
def _behind() -> tuple[Behind, ...]:
    return tuple(Behind(*row) for row in TABLE)


def take_behind(command: click.Command) -> click.Command:
    """Let a command, and those below it, take the options of every command behind its name."""
    if not any(isinstance(parameter, Behind) for parameter in command.params):
        own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        command.params += [option for option in _behind() if not own & {*option.opts, *option.secondary_opts}]
        command.epilog = command.epilog or "Options of every command, such as --json and --target: `kvfpga --help`."
    for below in getattr(command, "commands", {}).values():
        take_behind(below)
    return command
