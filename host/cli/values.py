"""What may stand on the command line: numbers in decimal or 0x, token ranges (contract section 8), names of many kinds.

A type also says what a shell offers at the TAB key (completing.py), which must not take long: no type imports numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contract.errors import UsageError
from ..contract.numbers import number, token_range
from ..contract.waveforms import SUFFIXES

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    IntType = click.ParamType[int]
    PairType = click.ParamType[tuple[int, int]]
    TextType = click.ParamType[str]
else:  # older releases of click know no type arguments
    IntType = PairType = TextType = click.ParamType

ASKED = "_KVFPGA_COMPLETE"
"""The variable in the environment by which a shell asks what to offer; click's name for it."""


class Number(IntType):
    """Decimal or 0x, not negative, `bits` wide at most."""

    name = "number"

    def __init__(self, bits: int = 64, name: str | None = None):
        self.bits = bits
        self.name = name or self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            found = number(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if found >> self.bits:
            most = (1 << self.bits) - 1
            self.fail(f"{value} does not fit into {self.bits} bits: 0 to {most:,}.", param, ctx)
        return found


class TokenRange(PairType):
    """START:END, END inclusive."""

    name = "start:end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            return token_range(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class Size(Number):
    """A build parameter of the device, such as `entries`: a power of two."""

    def __init__(self, parameter: str):
        super().__init__(64)
        self.parameter = parameter

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from ..contract.parameters import check

        found = super().convert(value, param, ctx)
        _judged(self, lambda: check(self.parameter, found, f"--{self.parameter}"), param, ctx)
        return found

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        from . import completing

        return completing.sizes(self.parameter, incomplete)


class Name(TextType):
    """Text of which a shell knows what there is: `offers`, a function of completing.py."""

    name = "text"

    def __init__(self, offers: str, check: Callable[[str], object] = lambda text: None):
        self.offers, self.check = offers, check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        _judged(self, lambda: self.check(text), param, ctx)
        return text

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        from . import completing

        found: list[CompletionItem[str]] = getattr(completing, self.offers)(incomplete)
        return found


class Waveform(click.Path):
    """A file that a waveform can be written into."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        if path.suffix not in SUFFIXES:
            self.fail(f"{path} is no name of a waveform; name it .fst or .vcd.", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}; make it, or name another.", param, ctx)
        return path


def _judged(
    kind: click.ParamType[Any], check: Callable[[], object], param: click.Parameter | None, ctx: click.Context | None
) -> None:
    """Have a check of a lower layer complain as click does."""
    try:
        check()
    except UsageError as error:
        kind.fail(f"{error.message}; {error.remedy}." if error.remedy else f"{error.message}.", param, ctx)


def _check_target(text: str) -> None:
    from ..targets.target import parse_target

    parse_target(text)


NUMBER = Number()
REQUEST = Number(16, "request")
BYTE = Number(8)
TIER = Number(2)
POSITION = Number(32)
EXISTING = click.Path(exists=True, dir_okay=False)
TARGET = Name("targets", _check_target)
BOARD = Name("boards")
REGISTER = Name("registers")
RANK_TABLE = Name("rank_tables")
TRACE = Name("traces")
POLICIES = Name("policies")
