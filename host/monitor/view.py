"""How `kvfpga top` looks: a `Snapshot`, and its `Change` against the one before, as a rich renderable or as a JSON object.

The view fits itself to the width it gets: two halves side by side from WIDE on; in less, bars shrink, then columns go that can be
spared, and last whole tables, with a line that says what they take: a number without its end would be another number.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..contract.entry import FLAGS
from ..contract.tiers import NAMES as TIERS
from .look import ERRORS, HINTS, HITS, busy_share, hit_rates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from .look import Change, Snapshot

WIDE = 130
"""Characters in a line."""
GAP = 2
"""Characters between two columns."""
HIT_NAMES = (*TIERS, "misses")
NONE = "–"


def count(value: float) -> str:
    """A number for people: whole, or with one digit where it is small."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def size(value: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{count(value)} {unit}"
        value /= 1024
    return f"{count(value)} TiB"


def share(part: float | None) -> str:
    return NONE if part is None else f"{100 * part:.1f} %"


ACTIVITY = (
    ("steps", ("step_count",), count),
    ("hints", HINTS, count),
    ("evict triggers", ("evict_triggers",), count),
    ("evict bytes", ("evict_bytes",), size),
    ("prefetch triggers", ("prefetch_triggers",), count),
    ("prefetch bytes", ("prefetch_bytes",), size),
    ("guards", ("guards",), count),
    ("denials", ("denials",), count),
    ("saturations", ("saturations",), count),
    ("release refusals", ("release_refusals",), count),
    ("busy cycles", ("busy_cycles",), count),
)
"""Rows of the activity table: name, the counters whose sum it is, how it is written."""


class View(NamedTuple):
    """`change` None: this is the first look. `interval`: seconds between looks, None where there is one only. `notes`: lines for
    the foot."""

    snapshot: Snapshot
    change: Change | None
    interval: float | None = None
    notes: tuple[str, ...] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield self.head()
        if width >= WIDE:
            half = (width - 3) // 2
            grid = Table.grid(padding=(0, 3, 0, 0))
            grid.add_column(width=half)
            grid.add_column(width=half)
            grid.add_row(Group(self.tiers(half), "", self.activity(half)), Group(self.hits(half), "", *self._blocks(half)))
            yield grid
        else:
            parts: list[RenderableType] = [self.tiers(width), "", self.activity(width), "", self.hits(width), ""]
            yield from [*parts, *self._blocks(width)]
        yield from self.foot()

    # ---- parts -------------------------------------------------------------------------------------------------------
    def head(self) -> Text:
        s = self.snapshot
        step = f"step {s.telemetry['current_step']:,}"
        if self.change and (steps := self.change.per_second("step_count")):
            step += f" ({count(steps)}/s)"
        often = f" · every {self.interval:g} s" if self.interval else ""
        return Text.assemble(
            ("kvfpga top", "bold"), f" · {s.target} · {s.entries:,} × {size(s.block_bytes)} · ", (step, "bold"), often, "\n"
        )  # fmt: skip

    def tiers(self, width: int) -> RenderableType:
        s, known = self.snapshot, self.snapshot.blocks.complete
        shown: list[tuple[str | Text, ...]] = []
        bar = max(2, min(40, width - 36))
        capacity = s.settings["T1_CAPACITY"]
        rows = [(n, name, s.tiers[n], capacity if n == 1 else s.entries) for n, name in enumerate(TIERS)]
        for number, name, blocks, room in (*rows, (None, "all", s.telemetry["valid_entries"], s.entries)):
            part = blocks / room if room else None
            about = "" if known or number in (1, None) else "≥ "
            filled = _bar(part or 0, bar, "green" if number == 1 else "cyan")
            shown.append((name, about + count(blocks), count(room), share(part), filled))
        return table_within(width, ("blocks", "", "of", "", ""), shown, spare=(4, 3, 2))

    def activity(self, width: int) -> RenderableType:
        total, change = self.snapshot.telemetry, self.change
        rows: list[tuple[str, ...]] = []
        for name, counters, form in ACTIVITY:
            rate = last = NONE
            if change:
                rate = form(sum(change.per_second(c) for c in counters)) + "/s" * (form is size)
                last = form(sum(change.counters[c] for c in counters))
            rows.append((name, rate, last, form(sum(total[c] for c in counters))))
        recent = busy_share(change.counters["busy_cycles"], change.cycles) if change else None
        rows.append(("  of the clock", "", share(recent), share(busy_share(total["busy_cycles"], self.snapshot.clock_cycles))))
        rows.append(("blocks in flight", "", "", count(self.snapshot.in_flight)))
        return table_within(width, ("activity", "per second", "last look", "in all"), rows, spare=(2, 1))

    def hits(self, width: int) -> RenderableType:
        total, grown = self.snapshot.telemetry, self.change.counters if self.change else None
        rows: list[tuple[str, ...]] = []
        all_rates, recent = hit_rates(total) or {}, hit_rates(grown) or {} if grown else {}
        for name, counter in zip(HIT_NAMES, HITS):
            last = count(grown[counter]) if grown else NONE
            rows.append((name, last, share(recent.get(counter)), count(total[counter]), share(all_rates.get(counter))))
        return table_within(width, ("lookups", "last look", "", "in all", ""), rows, spare=(2, 4, 1))

    def _blocks(self, width: int) -> list[RenderableType]:
        return [
            _block_table("hottest", self.snapshot.blocks.hottest, width),
            Text(""),
            _block_table("coldest", self.snapshot.blocks.coldest, width),
        ]

    def foot(self) -> Iterator[RenderableType]:
        s = self.snapshot
        yield ""
        if not s.blocks.complete:
            known, all_of_them = sum(s.blocks.tiers), s.telemetry["valid_entries"]
            yield Text(f"the directory is read over several looks: {known:,} of {all_of_them:,} blocks so far", "dim")
        elif 0 < s.blocks.read < s.telemetry["valid_entries"]:
            yield Text(f"directory: {s.blocks.read:,} entries read in this look, the others earlier", "dim")
        if wrong := [f"{name} {s.telemetry[name]:,}" for name in ERRORS if s.telemetry[name]]:
            yield Text(", ".join(wrong) + ": see `kvfpga reg read ERROR`", "bold red")
        for note in self.notes:
            yield Text(note, "yellow")

    # ---- for scripts -------------------------------------------------------------------------------------------------
    def to_json(self, in_use: bool = False) -> dict[str, Any]:
        """One object per look (docs/cli.md)."""
        s, change = self.snapshot, self.change
        grown = change.counters if change else None
        return {
            "command": "top",
            "code": "OK",
            "target": s.target,
            "entries": s.entries,
            "in_use": in_use,
            "step": s.telemetry["current_step"],
            "seconds": round(change.seconds, 6) if change else None,
            "tiers": [
                {"tier": tier, "blocks": blocks, "capacity": s.settings["T1_CAPACITY"] if tier == 1 else s.entries}
                for tier, blocks in enumerate(s.tiers)
            ],
            "telemetry": s.telemetry,
            "since": grown,
            "per_second": {name: round(change.per_second(name), 3) for name in change.counters} if change else None,
            "hit_rates": {"since": hit_rates(grown) if grown else None, "all": hit_rates(s.telemetry)},
            "busy": {
                "since": busy_share(change.counters["busy_cycles"], change.cycles) if change else None,
                "all": busy_share(s.telemetry["busy_cycles"], s.clock_cycles),
            },
            "in_flight": s.in_flight,
            "directory": {"read": s.blocks.read, "complete": s.blocks.complete},
            "hottest": list(s.blocks.hottest),
            "coldest": list(s.blocks.coldest),
        }


def table_within(
    width: int, header: Sequence[str], rows: Sequence[Sequence[str | Text]], spare: Sequence[int] = (), left: Sequence[int] = (0,)
) -> RenderableType:
    """A table of the columns that so many characters have room for: those of `spare` go, in this order. Where what is left has
    none, a line that says so. `left`: columns that are flush left."""
    kept = list(range(len(header)))
    widths = [max(cell_len(str(row[place])) for row in (header, *rows)) for place in kept]

    def needed() -> int:
        return sum(widths[place] + GAP for place in kept) - GAP

    for place in spare:
        if needed() > width:
            kept.remove(place)
    if needed() > width:
        return too_narrow(header[0], needed(), width)
    table = table_of(*(header[place] for place in kept))
    for column, place in zip(table.columns, kept):
        column.justify = "left" if place in left else "right"
    for row in rows:
        table.add_row(*(row[place] for place in kept))
    return table


def too_narrow(what: str, needed: int, width: int) -> Text:
    """In place of a table."""
    return Text(f"{what}: takes {needed} columns, and there are {width}", "yellow")


def table_of(*header: str) -> Table:
    """A name to the left, numbers to the right."""
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold", pad_edge=False)
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    return table


def _bar(part: float, width: int, style: str) -> Text:
    filled = min(width, round(part * width))
    if part > 0:
        filled = max(1, filled)
    return Text.assemble(("█" * filled, style), ("░" * (width - filled), "dim"))


def _block_table(title: str, blocks: tuple[dict[str, Any], ...], width: int) -> RenderableType:
    cells = {
        title: [f"block {b['index']}" for b in blocks] or [NONE],
        "priority": [count(b["priority"]) for b in blocks],
        "tier": [f"T{b['tier']}" for b in blocks],
        "request": [f"{b['request_id']:#06x}" for b in blocks],
        "layer:head": [f"{b['layer']}:{b['head']}" for b in blocks],
        "tokens": [f"{b['token_start']}:{b['token_end']}" for b in blocks],
        "step": [count(b["access_step"]) for b in blocks],
        "flags": [" ".join(flag for flag in FLAGS if b[flag]) for b in blocks],
    }
    widths = {name: GAP + max(map(len, (name, *column))) for name, column in cells.items()}
    for name in ("flags", "step", "layer:head", "tokens", "request", "tier"):
        too_much = sum(widths.values()) - GAP - width
        if too_much <= 0:
            break
        if name == "flags" and widths[name] - too_much >= GAP + len(name):
            widths[name] -= too_much  # some of the flags are better than none
        else:
            del widths[name]
    if (needed := sum(widths.values()) - GAP) > width:
        return too_narrow(title, needed, width)
    table = table_of(*widths)
    for column, name in zip(table.columns, widths):
        column.width = widths[name] - GAP
    if "flags" in widths:
        table.columns[-1].justify = "left"
    for row in zip_longest(*(cells[name] for name in widths), fillvalue=""):
        table.add_row(*row)
    return table
