"""The device's policy in a replay: what is programmed and when, what hint a block gets, whether blocks in use are shared.

`linear:PRESET` is the linear policy with the weights of a preset (R14 to R16), and blocks are shared while a request uses them.

`ranked-age` is the ranked one (R40) with the table `age`: tier 1 keeps what was used last. A deeper block of a prompt has a lower
order, so of blocks used at the same time the end of a prompt goes first, and its beginning stays whole. Nothing is shared: a
request's blocks cannot be hit by itself, and guarded ones would hold places that others could use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..contract import presets, rank_tables
from ..contract.commands import Set, hint_of
from ..contract.errors import UsageError
from ..contract.settings import LINEAR, RANKED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .traces import Request

RANKED_AGE = "ranked-age"
NAMES = (*(f"linear:{preset}" for preset in presets.PRESETS), RANKED_AGE)
LEVELS = 255
"""Orders that the blocks of a prompt are spread over."""


class DevicePolicy:
    """What every policy decides. `settings` are programmed before the first request. `shares`: are blocks shared (R20) while a
    request uses them?"""

    shares = True

    def __init__(self, name: str, settings: Sequence[Set] = ()):
        self.name = name
        self.settings = settings

    def table(self, request: Request) -> NDArray[np.uint8] | None:
        """uint8[classes, 64] that ranks from before this request on (R45), or None: the table stays. Asked once a request, in the
        order of the trace."""
        return None

    def hints(self, request: Request) -> Sequence[int]:
        """What the TOUCH and the LOAD of each of the request's blocks carry (R41)."""
        return [0] * request.size


class Ranked(DevicePolicy):
    """All blocks of class 0. `first_table`: in force before the first request, or None for what the device has."""

    shares = False

    def __init__(self, name: str, settings: Sequence[Set] = (), first_table: NDArray[np.uint8] | None = None):
        super().__init__(name, settings)
        self._due = first_table

    def table(self, request: Request) -> NDArray[np.uint8] | None:
        due, self._due = self._due, None
        return due

    def hints(self, request: Request) -> Sequence[int]:
        return [hint_of(0, order) for order in orders(request.size)]


def orders(blocks: int) -> Sequence[int]:
    """The order of each block of a prompt, from 255 downwards, in the finest levels that cover it."""
    shift = max(0, blocks.bit_length() - LEVELS.bit_length())
    return [255 - (depth >> shift) for depth in range(blocks)]


def named(name: str, classes: int) -> DevicePolicy:
    """The policy of that name, one of NAMES, for a device whose table has `classes`."""
    check(name)
    if name == RANKED_AGE:
        return Ranked(name, [Set("FILL_AGE", 1), Set("POLICY", RANKED)], rank_tables.by_age(classes))
    preset = presets.PRESETS[name.removeprefix("linear:")]
    return DevicePolicy(name, [*presets.sets(preset), Set("POLICY", LINEAR)])


def in_force(settings: dict[str, int]) -> DevicePolicy:
    """The policy that a device with these settings has already. `linear` is one with weights that are no preset's."""
    if settings["POLICY"] == RANKED:
        return Ranked("ranked")
    weights = presets.weights(settings)
    return DevicePolicy(next((f"linear:{name}" for name, preset in presets.PRESETS.items() if preset == weights), "linear"))


def check(name: str) -> None:
    if name not in NAMES:
        raise UsageError(f"there is no policy {name!r} to replay with", f"policies: {', '.join(NAMES)}")
