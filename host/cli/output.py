"""How results look: JSON objects for scripts (contract section 8, to the letter), lines and tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..contract import tiers
from ..contract.commands import EVICT, KINDS, MEANING, Result, Set, Trigger
from ..contract.wording import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

TRIGGERS_SHOWN = 16
ABOUT_BLOCKS = {kind.name for kind in KINDS if kind is not Set}
"""The commands of which people want to know how many blocks they were about."""


def print_json(found: Mapping[str, Any]) -> None:
    click.echo(json.dumps(found))


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
        click.echo(f"{name}: refused, {result.code}: {MEANING.get(result.code, 'see the contract')}")
        return
    parts = [f"{name}: OK"]
    if name == "lookup":
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
    click.echo(" · ".join(parts))
    for trigger in result.triggers[:TRIGGERS_SHOWN]:
        click.echo(f"  block {trigger.index}: {trigger.channel}, {tier(trigger.from_tier)} → {tier(trigger.to_tier)}")
    if len(result.triggers) > TRIGGERS_SHOWN:
        click.echo(f"  … and {len(result.triggers) - TRIGGERS_SHOWN} more")


def tier(number: int | None) -> str:
    return "" if number is None else tiers.NAMES[number]


def print_pairs(title: str, pairs: Mapping[str, object]) -> None:
    """Two columns."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in pairs.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    print_rich(table)


def print_table(
    title: str, header: Sequence[str], rows: Iterable[Iterable[object]], right: tuple[str, ...] = ()
) -> None:
    """`right`: columns of numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, justify="right" if name in right else "left")
    for row in rows:
        table.add_row(*map(str, row))
    print_rich(table)


def print_rich(renderable: RenderableType) -> None:
    from rich.console import Console

    # into a pipe there is no width to fit into, and cutting columns would lose them
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
    console.print(renderable)
