"""The policies of `kvfpga lab`: CONTENDERS has a row for each, `named` takes what the command line says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...contract import plugins, presets
from ...contract.errors import UsageError
from ..device_policy import RANKED_AGE
from ..stream import Stream
from . import on_device, optimal, published
from .contender import Contender, Options, Run

RANKED, WITH_FINAL, OPTIMAL = "ranked", "ranked+final", "optimal"
WITH_BOTH = f"{WITH_FINAL}+announce"
LINEAR = f"linear:{presets.DEFAULT}"
USUAL_ACCURACY = 0.9
"""Of FINAL, where a policy that is told it is asked for and no accuracy."""


def _optimal(stream: Stream, capacity: int, options: Options, upcoming: Any) -> Run:
    from ..kernels.jit import compiled

    hits = np.zeros(stream.touches, np.bool_)
    compiled(optimal.mark)(upcoming, capacity, np.zeros(stream.touches + 1, np.bool_), hits)
    return Run(*stream.hits_of_requests(hits), fills=stream.touches - int(np.count_nonzero(hits)))


def _own() -> Iterable[Contender]:
    yield Contender(
        OPTIMAL, "evicts what is used again latest (Belady)", "kvfpga", _optimal,
        prepare=lambda stream, options: optimal.next_references(stream.blocks),
        libraries=("numba",), code=("lab/policies/optimal.py",), uses_future=True,
    )  # fmt: skip
    yield from on_device.contenders()


CONTENDERS = {row.name: row for row in (*published.contenders(), *_own())}

USUAL = (
    OPTIMAL, "lru", "lfu", "arc", "mq", "s3fifo", "sieve", "wtinylfu", "lirs", "twoq", "cacheus", "clock2qplus", "lhd", "gdsf",
    LINEAR, RANKED_AGE, RANKED,
)  # fmt: skip
"""What runs where no policy is named; `ranked+final` too, where an accuracy is."""


def named(name: str) -> Contender:
    """The policy of that name, the lab's own or a plugin's. UsageError where there is none."""
    if name in CONTENDERS:
        return CONTENDERS[name]
    found = plugins.load(plugins.POLICIES, name, Contender)
    if found is None:
        raise UsageError(f"there is no policy {name!r} in the lab", "`kvfpga lab policies` lists them")
    package = plugins.package(plugins.POLICIES, name)  # another version of it is another policy: its results are not reused
    return found._replace(name=name, libraries=tuple(dict.fromkeys((*found.libraries, package))))


def names() -> list[str]:
    """All that `named` knows."""
    return [*dict.fromkeys([*CONTENDERS, *plugins.names(plugins.POLICIES)])]


def chosen(text: str | None, options: Options) -> list[Contender]:
    """The policies of a comma-separated list, each once, in its order; the usual ones for None."""
    if text is not None:
        return _listed(text)
    return [named(name) for name in (*USUAL, *[WITH_FINAL] * (options.final_accuracy is not None))]


def _listed(text: str) -> list[Contender]:
    return [named(name) for name in dict.fromkeys(name.strip() for name in text.split(","))]


def accuracy(given: float | None, text: str | None) -> float | None:
    """Of FINAL: the one that was given, or the usual one where the policies of a list depend on it."""
    if given is None and any("final_accuracy" in row.depends for row in chosen(text, Options())):
        return USUAL_ACCURACY
    return given
