"""The tables of `kvfpga lab run`, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..contract.wording import counted
from ..lab.device_policy import ANNOUNCED, RANKED_AGE
from ..lab.policies.contenders import CONTENDERS, LINEAR, OPTIMAL, RANKED, WITH_BOTH, WITH_FINAL

if TYPE_CHECKING:
    from rich.table import Table

    from ..lab.cells import Cell

NOTHING = "–"
FUTURE = "*"
OWN = (LINEAR, RANKED_AGE, RANKED, WITH_FINAL, ANNOUNCED, WITH_BOTH)


def tables(found: Sequence[Cell]) -> Iterator[Table]:
    """A table a trace, then what it comes to."""
    for trace in dict.fromkeys(cell.trace for cell in found):
        yield _trace([cell for cell in found if cell.trace == trace])
    yield _summary(found)


def _trace(found: Sequence[Cell]) -> Table:
    """Hit rate and prefix hit rate of every policy at every capacity."""
    from rich.table import Table

    first = found[0]
    made = " (generated)" if first.generated else ""
    what = f"{first.trace}{made}: {counted(first.touches, 'touch', 'touches')} of {counted(first.blocks, 'block')}"
    table = Table(title=f"{what}\nhits, prefix hits in % of touches", title_justify="left", caption=_caption(found))
    table.add_column("policy")
    sizes = sorted({cell.capacity for cell in found})
    for size in sizes:
        table.add_column(f"{size:,}", justify="right")
    cells = {(cell.policy, cell.capacity): cell for cell in found}
    for policy in dict.fromkeys(cell.policy for cell in found):
        row = [cells.get((policy, size)) for size in sizes]
        name = policy + FUTURE * CONTENDERS[policy].uses_future
        table.add_row(name, *map(_rates, row), style="bold" if policy in OWN else None)
    return table


def _caption(found: Iterable[Cell]) -> str | None:
    return f"{FUTURE} uses the future" if any(cell.uses_future for cell in found) else None


def _rates(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    if cell.hit_rate is None or cell.prefix_hit_rate is None:
        return cell.status
    return f"{cell.hit_rate:.2%}, {cell.prefix_hit_rate:.2%}".replace("%", "")


def _summary(found: Sequence[Cell]) -> Table:
    """Traces × capacities: the bounds, the best published policy, the device's."""
    from rich.table import Table

    own = [policy for policy in OWN if any(cell.policy == policy for cell in found)]
    table = Table(title="hits in % of touches, and the share of the gap from lru to optimal", title_justify="left")
    table.add_column("trace")
    for name in ("T1", "lru", "best published", *own, OPTIMAL):
        table.add_column(name, justify="right")
    for trace, capacity in dict.fromkeys((cell.trace, cell.capacity) for cell in found):
        here = {cell.policy: cell for cell in found if (cell.trace, cell.capacity) == (trace, capacity)}
        finished = [cell for cell in here.values() if CONTENDERS[cell.policy].published and cell.hits is not None]
        best = max(finished, key=lambda cell: cell.hits or 0, default=None)
        table.add_row(
            trace, f"{capacity:,}", _rate(here.get("lru"), False), f"{best.policy} {_rate(best)}" if best else NOTHING,
            *[_rate(here.get(policy)) for policy in own], _rate(here.get(OPTIMAL), False),
        )  # fmt: skip
    return table


def _rate(cell: Cell | None, with_gap: bool = True) -> str:
    if cell is None:
        return NOTHING
    if cell.hit_rate is None:
        return cell.status
    gap = f" ({cell.gap_closed:.0%})" if with_gap and cell.gap_closed is not None else ""
    return f"{100 * cell.hit_rate:.2f}{gap}"
