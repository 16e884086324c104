"""What `kvfpga top` shows of the policy in force: its figures, and the table of the ranked policy by class (contract R40 to R48).

Codes are drawn over the age buckets of R43, the youngest to the left, as bars of eight heights. A class's code at an age, with
the block's order below it, is a rank, and the threshold θ of the last STEP is one too: what it let win is green.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group
from rich.text import Text

from ..contract.settings import RANKED
from .view import NONE, count, table_within

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import RenderableType

    from .look import Snapshot

BARS = " ▁▂▃▄▅▆▇█"
BUCKETS = {110: 1, 58: 2, 42: 4, 34: 8}
"""Age buckets that share a bar, from so many characters in a line on."""
WITH_PARTS = 52
"""Characters in a line from which a rank is shown with its parts, too."""


def figures(snapshot: Snapshot, width: int) -> RenderableType:
    """What STEP decides by, and what it found last."""
    settings, telemetry = snapshot.settings, snapshot.telemetry
    if settings["POLICY"] == RANKED:
        theta = telemetry["theta"]
        shown = {
            "θ, the rank to win": f"{count(theta)} (code {theta >> 8}, order {theta & 0xFF})" if theta else NONE,
            "pool": f"{count(telemetry['pool'])} for {count(settings['T1_CAPACITY'])} places",
            "of it outside T1": count(telemetry["outside"]),
            "steps that searched": count(telemetry["ranked_steps"]),
            "FILL_AGE": count(settings["FILL_AGE"]),
        }
    else:
        shown = {
            "evicted from": f"priority {count(settings['EVICT_THRESH'])} down",
            "fetched from": f"priority {count(settings['PREFETCH_THRESH'])} up",
            "weights R F S D": " ".join(str(settings[f"WEIGHT_{letter}"]) for letter in "RFSD"),
            "window": f"{count(settings['WINDOW'])} steps",
        }
    title = "ranked policy" if settings["POLICY"] == RANKED else "linear policy"
    if width < WITH_PARTS:
        shown = {name: value.partition(" (")[0] for name, value in shown.items()}
    return table_within(width, (title, ""), list(shown.items()), left=(0, 1))


def classes(snapshot: Snapshot, width: int) -> RenderableType:
    """Blocks of each class that has some, and its codes where the ranked policy is in force."""
    blocks = _blocks_by_class(snapshot)
    rows: list[tuple[str | Text, ...]] = []
    for number in np.flatnonzero(blocks.sum(axis=1)).tolist():
        codes = Text("")
        if snapshot.table is not None:
            codes = _bars(snapshot.table[number], snapshot.telemetry["theta"], _buckets(width))
        rows.append((str(number), count(blocks[number, 1]), count(blocks[number].sum() - blocks[number, 1]), codes))
    header = "class", "T1", "elsewhere", "code by age" if snapshot.table is not None else ""
    table = table_within(width, header, rows or [(NONE, NONE, NONE, "")], spare=(3, 2), left=(0, 3))
    if snapshot.table is None:
        return Group(table, "", Text("Classes count with the ranked policy: kvfpga policy ranked --table age", "dim"))
    return Group(table, "", Text("young to the left, old to the right; green: wins a place in T1 at the last step's θ", "dim"))


def _buckets(width: int) -> int:
    return next((buckets for least, buckets in BUCKETS.items() if width >= least), 16)


def _blocks_by_class(snapshot: Snapshot) -> NDArray[np.intp]:
    """[256, 4]: blocks of each class in each tier."""
    rows, found = snapshot.rows, np.zeros((256, 4), np.intp)
    if rows:
        np.add.at(found, (rows["class"].astype(np.intp), rows["tier"].astype(np.intp)), 1)
    return found


def _bars(codes: NDArray[np.uint8], theta: int, step: int) -> Text:
    """The largest code of each `step` buckets as one bar."""
    text = Text()
    for code in codes.reshape(-1, step).max(axis=1).tolist():
        text.append(BARS[-(-code // 32)], "green" if code > theta >> 8 else "yellow" if code == theta >> 8 else "red")
    return text
