"""What a run prints: a table for people, or one JSON object."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from kvfpga.cli.output import console, print_rich

from . import records
from .figures import Figure, Report
from .records import Row
from .sizes import Sizes

COLUMNS = {"figure": "left", "value": "right", "beside": "left", "its value": "right", "ratio": "right", "±": "right",
           "aim": "left", "last": "left"}  # fmt: skip
WORDS = ("figure", "beside", "aim", "last")
"""Columns that may go on in the next line where a terminal is narrow."""


def as_json(report: Report, recorded: Sequence[Row], sizes: Sizes, commit: str, processor: str) -> dict:
    return {
        "commit": commit,
        "processor": processor,
        "sizes": sizes._asdict(),
        "figures": [_figure(figure, recorded) for figure in report.figures],
        "agreements": [agreement._asdict() | {"same": agreement.same} for agreement in report.agreements],
        "notes": report.notes,
    }


def _figure(figure: Figure, recorded: Sequence[Row]) -> dict:
    before = records.last(figure, recorded)
    last = {"commit": before.commit, "ratio": before.ratio, "processor": before.processor} if before else None
    return figure._asdict() | {"met": figure.met, "last": last, "loss": records.is_loss(figure, before)}


def show(report: Report, recorded: Sequence[Row], sizes: Sizes, commit: str) -> None:
    title = f"{commit}: ENTRIES={sizes.entries}, LANES={sizes.lanes}, DATA_BITS={sizes.data_bits}"
    table = Table(title=title, title_justify="left")
    for name, side in COLUMNS.items():
        table.add_column(name, justify=side, no_wrap=name not in WORDS, overflow="fold")
    section = report.figures[0].section if report.figures else ""
    for figure in report.figures:
        if figure.section != section:
            table.add_section()
        section = figure.section
        table.add_row(*_row(figure, records.last(figure, recorded)))
    print_rich(table)
    out = console()
    for section, name, today, baseline in (agreement for agreement in report.agreements if not agreement.same):
        differs = escape(f"{name} is {today}, of the baseline {baseline}")
        out.print(f"[bold red]NOT THE SAME: {section}, {differs}[/]", soft_wrap=True)
    if report.agreements:
        same = sum(agreement.same for agreement in report.agreements)
        out.print(f"{same} of {len(report.agreements)} results and cycle counts are those of the baseline", soft_wrap=True)
    for note in report.notes:
        out.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)


def _row(figure: Figure, before: Row | None) -> list[str]:
    aim = "" if figure.aim is None else f"{'≤' if figure.at_most else '≥'} {figure.aim:g}"
    verdict = {None: "", True: " [green]met[/]", False: " [red]missed[/]"}[figure.met]
    last = f"{_number(before.ratio)} at {before.commit}" if before else ""
    return [
        figure.name, f"{_number(figure.value)} {figure.unit}", figure.beside, _number(figure.other), _number(figure.ratio),
        "" if figure.spread is None else f"{figure.spread:.0%}", aim + verdict,
        last + (" [bold red]LOSS[/]" if records.is_loss(figure, before) else ""),
    ]  # fmt: skip


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")
