"""How results look: JSON objects for scripts (contract section 8, to the letter), lines and tables for people.

Output never undoes what a command did. What is shown of a command is held back until its state is stored; a character that the
terminal lacks is replaced; and where stdout takes no more, that is an `OutputLost`, which ends the command behind its storing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from ..contract import tiers
from ..contract.commands import EVICT, KINDS, MEANING, Result, Set, Trigger
from ..contract.wording import counted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

TRIGGERS_SHOWN = 16
ABOUT_BLOCKS = {kind.name for kind in KINDS if kind is not Set}
"""The commands of which people want to know how many blocks they were about."""


PLAIN = str.maketrans({"→": "->", "·": "-", "…": "...", "–": "-", "×": "x", "−": "-"})
"""What a terminal shows that lacks these characters; others become question marks."""


WIDE = 240
"""Columns of a pipe."""
QUOTED = re.compile("`[^`]*`")
UNBROKEN = "\0"
"""In place of a space at which no line ends."""


class OutputLost(Exception):
    """stdout takes no more. `is_closed`: whoever read it has gone, which is no error."""

    def __init__(self, error: Exception):
        super().__init__(str(getattr(error, "strerror", None) or error))
        self.is_closed = isinstance(error, OSError) and error.errno == errno.EPIPE

    def at(self, place: str) -> OutputLost:
        """The same, with where it happened; what lies behind was not run."""
        self.args = (f"{self} ({place}, the last that was run)",)
        return self


_held: list[str] | None = None
_quiet = False


def be_quiet(wanted: bool) -> None:
    """Leave notes and progress out from here on, or not (--quiet)."""
    global _quiet
    _quiet = wanted


def is_quiet() -> bool:
    return _quiet


def hold() -> None:
    """Keep what is shown from here on, until `release`."""
    global _held
    _held = []


def release() -> None:
    """Show what was held back, and from here on everything at once."""
    global _held
    held, _held = _held, None
    if held:
        _write("".join(held))


def drop() -> None:
    """Forget what was held back: what it says did not come to be."""
    global _held
    _held = None


def echo(text: str, end: str = "\n") -> None:
    """A line on stdout."""
    if _held is None:
        _write(text + end)
    else:
        _held.append(text + end)


class _Stdout:
    """What `echo` makes of what rich writes; left to itself, rich would end the process where stdout is closed."""

    def write(self, text: str) -> int:
        echo(text, end="")
        return len(text)

    def flush(self) -> None:
        """`echo` has."""

    def isatty(self) -> bool:
        return sys.stdout.isatty()

    @property
    def encoding(self) -> str:  # by which rich chooses how it draws tables
        return getattr(sys.stdout, "encoding", None) or "utf-8"


class Stderr:
    """stderr, of which a failure is nothing to stop for: it could not be told anyway."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def complain(text: str) -> None:
    """Lines on stderr; by its name, so that it comes above a bar that moves there (click's echo goes past that)."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(broken(text, _columns(sys.stderr)), file=sys.stderr, flush=True)


def broken(text: str, columns: int | None) -> str:
    """The lines of the text in those of a terminal, broken between words; a command in backticks stays whole, for who copies it.
    None: no terminal, where each is one line."""
    return text if columns is None else "\n".join(_broken(line, columns) for line in text.split("\n"))


def _broken(line: str, columns: int) -> str:
    if len(line) <= columns:
        return line
    words = QUOTED.sub(lambda quoted: quoted[0].replace(" ", UNBROKEN), line)
    lines = textwrap.wrap(words, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(UNBROKEN, " ")


def _columns(stream: TextIO | None) -> int | None:
    """Of the terminal that the stream goes to, where there is one and it says so."""
    if stream is None:
        return None
    with suppress(OSError, ValueError):  # what says that it is one, and has no file
        return os.get_terminal_size(stream.fileno()).columns or None if stream.isatty() else None
    return None


def fitting(text: str, encoding: str | None) -> str:
    """The text in characters that the encoding has."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return text.translate(PLAIN).encode(encoding or "utf-8", "replace").decode(encoding or "utf-8")
    return text


def _write(text: str) -> None:
    try:
        sys.stdout.write(fitting(text, sys.stdout.encoding))
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        raise lost(error) from error


def lost(error: Exception) -> OutputLost:
    """What writing to stdout failed with. What that still holds goes nowhere: Python would try it again at the end."""
    with suppress(OSError, ValueError):  # where it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OutputLost(error)


def say(text: str) -> None:
    """Lines for people on stdout, broken between words as those on stderr are."""
    echo(broken(text, _columns(sys.stdout)))


def print_json(found: Mapping[str, Any]) -> None:
    echo(json.dumps(found))


def result_object(name: str, result: Result, checked: bool) -> dict[str, Any]:
    """The command result of contract section 8; a lookup has three keys more."""
    found = {
        "command": name,
        "code": result.code,
        "matched": result.matched,
        "index": result.index,
        "cycles": result.cycles,
        "triggers": [trigger_object(trigger) for trigger in result.triggers],
        "checked": checked,
    }
    if name == "lookup":
        found |= {"hit": result.index is not None, "tier": result.tier, "phys_addr": result.phys_addr}
    return found


def trigger_object(trigger: Trigger) -> dict[str, Any]:
    return {
        "index": trigger.index, "channel": trigger.channel, "from": trigger.from_tier, "to": trigger.to_tier
    }  # fmt: skip


def print_result(name: str, result: Result, checked: bool) -> None:
    if result.code != "OK":
        say(f"{name}: refused, {result.code}: {MEANING.get(result.code, 'see the contract')}")
        if result.why:
            say(f"  {result.why}")
        return
    parts = [f"{name}: OK"]
    if name in ("lookup", "score"):
        parts.append(
            f"block {result.index} in {tier(result.tier)} at {result.phys_addr:#x}"
            if result.index is not None
            else "miss"
        )
    elif result.index is not None:
        parts.append(f"block {result.index}")
    elif name in ABOUT_BLOCKS:
        parts.append(counted(result.matched, "block"))
    if result.triggers:
        evicted = sum(trigger.channel == EVICT for trigger in result.triggers)
        parts.append(f"{evicted} evicted, {len(result.triggers) - evicted} prefetched")
    if result.cycles:
        parts.append(counted(result.cycles, "cycle"))
    parts.append("checked" if checked else "not checked")
    say(" · ".join(parts))
    for trigger in result.triggers[:TRIGGERS_SHOWN]:
        echo(f"  block {trigger.index}: {trigger.channel}, {tier(trigger.from_tier)} → {tier(trigger.to_tier)}")
    if len(result.triggers) > TRIGGERS_SHOWN:
        echo(f"  … and {len(result.triggers) - TRIGGERS_SHOWN} more")


def tier(number: int | None) -> str:
    return "" if number is None else tiers.NAMES[number]


def print_pairs(title: str, pairs: Mapping[str, object]) -> None:
    """Two columns."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True, min_width=max(map(len, pairs)))  # rich measures a name by its longest word
    table.add_column(overflow="fold")  # a key is of no use without its end
    for name, value in pairs.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    print_rich(table)


def print_table(
    title: str, header: Sequence[str], rows: Iterable[Iterable[object]], right: tuple[str, ...] = (),
    short: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """`right`: columns of numbers. `short`: names of columns for a narrow terminal."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    cells = [[*map(str, row)] for row in rows]
    for place, name in enumerate(header):
        is_text = any(" " in row[place] for row in cells)  # which may go on in the next line; a number or a name may not
        table.add_column(name, justify="right" if name in right else "left", no_wrap=not is_text, overflow="fold")
    for row in cells:
        table.add_row(*row)
    print_rich(table, short)


def print_rich(renderable: RenderableType, short: Mapping[str, str] | None = None) -> None:
    """Into a pipe there is no width to fit into. A table that a terminal is too narrow for goes without its lines, then with the
    short names of its columns; where it is still too wide, the terminal breaks lines, for cutting would lose numbers."""
    from rich.table import Table

    room = console().width if _Stdout().isatty() else WIDE
    if isinstance(renderable, Table):
        if renderable.title:  # which would be broken to the width of the table
            console(room).print(renderable.title, style="table.title")
            renderable.title = None
        if _least(renderable) > room:
            _without_lines(renderable)
        if short and _least(renderable) > room:
            for column in renderable.columns:
                column.header = short.get(str(column.header), column.header)
    fits = console(max(room, _least(renderable)))
    with fits.capture() as drawn:
        fits.print(renderable)
    # padded to a wider one, a line would break on a terminal as that does
    echo("\n".join(map(str.rstrip, drawn.get().splitlines())))


def _least(renderable: RenderableType) -> int:
    """The width below which it loses something."""
    from rich.measure import Measurement

    wide = console(WIDE)
    return Measurement.get(wide, wide.options, renderable).minimum


def _without_lines(table: Table) -> None:
    from rich.box import SIMPLE_HEAD

    table.box, table.show_edge, table.padding = SIMPLE_HEAD, False, 0


def console(width: int | None = None) -> Console:
    """stdout for rich."""
    from rich.console import Console

    height = width and 25  # of no matter, but without it rich gives a dumb terminal 80 columns, whatever the width
    return Console(file=cast("IO[str]", _Stdout()), highlight=False, width=width, height=height)
