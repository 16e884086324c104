"""What may stand on the command line: numbers in decimal or 0x, token ranges (contract section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..contract.numbers import number, token_range

if TYPE_CHECKING:
    IntType = click.ParamType[int]
    PairType = click.ParamType[tuple[int, int]]
else:  # older releases of click know no type arguments
    IntType = PairType = click.ParamType


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
            self.fail(f"{value} does not fit into {self.bits} bits.", param, ctx)
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


NUMBER = Number()
REQUEST = Number(16, "request")
BYTE = Number(8)
TIER = Number(2)
POSITION = Number(32)
EXISTING = click.Path(exists=True, dir_okay=False)
