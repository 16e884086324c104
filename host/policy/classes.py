"""The classes that blocks are sorted into, by what a runtime knows of the request that touches them (features.py).

    kind       which blocks                                              parted by
    partial    behind the whole ones: the last one, where it is not full, and what is generated
    new        behind the shared prefix, at a session's first turn       new tokens · output
    later      behind it, at a later turn                                session gap · output · new tokens
    own        of the shared prefix, its session's                       turn · session gap · output · new tokens
    common     of the shared prefix, touched more often than the         touches · own gap
               session has turns: many use it

The length of the output is known when a request is complete: so there are classes at arrival, and others, finer ones, at
completion. With the limits of `Constants` they are 80 and 168; a device of 256 classes has room for 8 more, at completion, of
requests that somebody says are the last of their session ("final"). A device of 128 classes has those at arrival, which then
stay; a smaller one has 15 of them, of the same kinds in fewer parts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..contract.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .constants import Constants
    from .features import Features

AXES = KIND, GAP, OUTPUT, NEW = range(4)
"""Classes are alike along an axis where they have the same level there: hazards.py shares what it sees among them."""
Label = tuple[object, ...]


class Factor(NamedTuple):
    """A feature in levels. `value` takes it from Features: a number, or one for each shared block."""

    name: str
    axis: int
    limits: tuple[float, ...]
    value: Callable[[Features], Any]
    many: bool = False

    @property
    def levels(self) -> int:
        return len(self.limits) + 1

    def level(self, features: Features) -> int | NDArray[np.intp]:
        value = self.value(features)
        return np.digitize(value, self.limits) if self.many else bisect_right(self.limits, value)


class Kind(NamedTuple):
    name: str
    factors: tuple[Factor, ...] = ()

    @property
    def classes(self) -> int:
        return prod(factor.levels for factor in self.factors)

    def number(self, features: Features) -> int | NDArray[np.intp]:
        """The class within the kind: one for all its blocks, or one for each shared block."""
        number: int | NDArray[np.intp] = 0
        for factor in self.factors:
            number = number * factor.levels + factor.level(features)
        return number

    def labels(self, final: bool) -> list[list[Label]]:
        """The level of each class along each axis."""
        found = []
        for levels in product(*(range(factor.levels) for factor in self.factors)):
            along: list[Label] = [(self.name,), (), (), ("final",) if final else ()]
            for factor, level in zip(self.factors, levels, strict=True):
                along[factor.axis] += (factor.name, level)
            found.append(along)
        return found


class Scheme(NamedTuple):
    """Classes from `first` on. The numbers of a kind's classes follow those of the kind before."""

    partial: Kind
    new: Kind
    later: Kind
    own: Kind
    common: Kind
    first: int = 0
    final: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return self[:5]

    @property
    def classes(self) -> int:
        return sum(kind.classes for kind in self.kinds)

    def classify(self, features: Features) -> NDArray[np.uint8]:
        """uint8[blocks]: the class of each block of a request."""
        partial, new, later, own, common = self._firsts()
        shared = features.shared
        found = np.empty(features.blocks, dtype=np.uint8)
        if shared:
            found[:shared] = common + self.common.number(features)
            if features.turn:
                found[:shared][features.touches <= features.turn + 1] = own + self.own.number(features)
        if shared < features.blocks:
            found[shared:] = later + self.later.number(features) if features.turn else new + self.new.number(features)
        found[features.whole :] = partial
        return found

    def _firsts(self) -> list[int]:
        sizes = [self.first, *(kind.classes for kind in self.kinds[:-1])]
        return [sum(sizes[: count + 1]) for count in range(len(sizes))]


class Group(NamedTuple):
    """Classes that are learnt together: `first` to `first + classes`. `levels`: int64[axes, classes], the level of each class
    along each axis; `sizes`: how many levels an axis has."""

    first: int
    classes: int
    levels: NDArray[np.int64]
    sizes: tuple[int, ...]


class Plan(NamedTuple):
    """What a device of some number of classes is told. `completion`: None where the classes at arrival stay; `final`: None where
    nobody says which requests are the last ones."""

    arrival: Scheme
    completion: Scheme | None = None
    final: Scheme | None = None

    @property
    def groups(self) -> list[Group]:
        """A block has a class of each group, from its touch and from its request's completion on."""
        behind = [scheme for scheme in (self.completion, self.final) if scheme]
        return [_group(schemes) for schemes in ([self.arrival], behind) if schemes]


class _Factors:
    """Gaps are in steps, as in Features."""

    def __init__(self, constants: Constants, step_ms: float):
        def steps(seconds: Sequence[float]) -> tuple[float, ...]:
            return tuple(limit * 1000 / step_ms for limit in seconds)

        self.new = Factor("new tokens", NEW, constants.new_tokens, attrgetter("new_tokens"))
        self.more = Factor("later tokens", NEW, constants.later_tokens, attrgetter("new_tokens"))
        self.session = Factor("session gap", GAP, steps(constants.session_gaps_s), attrgetter("session_gap"))
        self.turn = Factor("turn", KIND, constants.turns, attrgetter("turn"))
        self.touches = Factor("touches", KIND, constants.touches, attrgetter("touches"), many=True)
        self.own = Factor("own gap", GAP, steps(constants.own_gaps_s), attrgetter("own_gaps"), many=True)
        self.output = Factor("output", OUTPUT, constants.output_tokens, attrgetter("output_length"))

    def at_arrival(self) -> Scheme:
        return Scheme(
            Kind("partial"),
            Kind("new", (self.new,)),
            Kind("later", (self.session, self.more)),
            Kind("own", (self.turn, self.session, self.more)),
            Kind("common", (self.touches, self.own)),
        )

    def at_completion(self, first: int) -> Scheme:
        return Scheme(
            Kind("partial"),
            Kind("new", (self.new, self.output)),
            Kind("later", (self.session, self.output, self.more)),
            Kind("own", (self.turn, self.session, self.output, self.more)),
            Kind("common", (self.touches, self.own)),
            first,
        )

    def at_the_last(self, first: int) -> Scheme:
        return Scheme(Kind("partial"), Kind("new"), Kind("later"), Kind("own", (self.turn,)), Kind("common"), first, final=True)

    def coarse(self) -> Scheme:
        middle = self.session._replace(limits=self.session.limits[1:2])
        return Scheme(
            Kind("partial"),
            Kind("new", (self.more,)),
            Kind("later", (middle,)),
            Kind("own", (self.session,)),
            Kind("common", (self.own._replace(limits=self.own.limits[1:]),)),
        )


def plan(classes: int, constants: Constants, step_ms: float, final: bool = False) -> Plan:
    """What a device of so many classes can be told. UsageError where there are too few."""
    factors = _Factors(constants, step_ms)
    fine, coarse = factors.at_arrival(), factors.coarse()
    completion = factors.at_completion(fine.classes)
    last = factors.at_the_last(fine.classes + completion.classes)
    if final:
        _require(classes, last.first + last.classes, "with a hint that sessions end")
        return Plan(fine, completion, last)
    if classes >= last.first:
        return Plan(fine, completion)
    if classes >= fine.classes:
        return Plan(fine)
    _require(classes, coarse.classes, "with these limits")
    return Plan(coarse)


def _require(classes: int, needed: int, what: str) -> None:
    if classes < needed:
        raise UsageError(
            f"{what}, the learner needs {needed} classes; this device has {classes}", "give Constants with fewer limits"
        )


def _group(schemes: Sequence[Scheme]) -> Group:
    along = [label for scheme in schemes for kind in scheme.kinds for label in kind.labels(scheme.final)]
    known: list[dict[Label, int]] = [{} for _ in AXES]
    levels = [[known[axis].setdefault(label[axis], len(known[axis])) for label in along] for axis in AXES]
    return Group(schemes[0].first, len(along), np.array(levels, dtype=np.int64), tuple(map(len, known)))
