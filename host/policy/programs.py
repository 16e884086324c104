"""The device's policies by name, and what each wants programmed before the first block.

    linear:PRESET   the linear policy (R14 to R16) with the weights of a preset
    ranked-age      the ranked one (R40) with the table `age`: what was used last stays
    ranked          the same with what the learner (learner.py) finds

Requests that are announced (R19) want WINDOW 1 besides: PREFETCH then takes effect in the STEP that it is for (R46), where ranks
decide, and neither at once nor in later ones.
"""

from __future__ import annotations

from ..contract import presets
from ..contract.commands import Set
from ..contract.errors import UsageError
from ..contract.settings import LINEAR, RANKED
from ..contract.wording import counted

RANKED_AGE = "ranked-age"
LEARNT = "ranked"
NAMES = (*(f"linear:{preset}" for preset in presets.PRESETS), RANKED_AGE, LEARNT)

T1_CAPACITY = 4096
"""Places of tier 1 where nobody says how many, or all of a smaller device."""


def t1_capacity(asked: int | None, entries: int) -> int:
    """How many places tier 1 is to have. UsageError where the device has not so many."""
    if asked is None:
        return min(T1_CAPACITY, entries)
    if asked > entries:
        raise UsageError(
            f"a T1 of {counted(asked, 'block')} on a device of {entries} entries",
            f"give {counted(entries, 'block')} or fewer, or leave it out: then it is as large as the device allows",
        )
    return asked


def is_ranked(name: str) -> bool:
    return name in (RANKED_AGE, LEARNT)


def settings(name: str, announced: bool = False) -> list[Set]:
    """What to program, for one of NAMES. `announced`: requests are."""
    if not is_ranked(name):
        preset = presets.PRESETS[name.removeprefix("linear:")]
        return [*presets.sets(preset), Set("POLICY", LINEAR)]
    return [Set("FILL_AGE", 1), Set("POLICY", RANKED), *[Set("WINDOW", 1)] * announced]
