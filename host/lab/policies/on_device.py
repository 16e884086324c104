"""The device's own policies, on the compiled device (lab/compiled.py), which does what `kvfpga replay` makes a device do.

Hints are learnt once from a stream and serve every capacity; nothing in them comes from later than the moment when they are told,
except with FINAL and ANNOUNCE. A trace does not have them, so both are made from the future: FINAL right in a stated share of
cases, ANNOUNCE always.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...contract import presets
from .. import hinting
from ..device_policy import ANNOUNCED, RANKED_AGE
from .contender import Contender, Options, Run, Runner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...policy.hints import Hints
    from ..compiled import Outcome
    from ..stream import Stream

CODE = (
    "lab/compiled.py", "lab/kernels", "lab/plan.py", "lab/device_policy.py", "lab/hinting.py", "lab/policies/on_device.py",
    "policy/buckets.py", "policy/class_ranges.py", "policy/orders.py", "policy/programs.py", "contract",
)  # fmt: skip
LEARNER = ("policy",)
SAMPLES = 1000
"""How many of a run's states are kept, about."""


def contenders() -> Iterable[Contender]:
    for preset in presets.PRESETS:
        yield Contender(
            f"linear:{preset}", "thresholds on a weighted score (R14 to R16)", "the device", linear(preset),
            depends=("entries", "step_ms"), libraries=("numba",), code=CODE,
        )  # fmt: skip
    about = "keeps what ranks highest"
    by_rank = Contender(
        RANKED_AGE, f"{about}, by age alone", "the device", _ranked, prepare=_by_age,
        depends=("entries", "step_ms"), libraries=("numba", "numpy"), code=CODE,
    )  # fmt: skip
    yield by_rank
    learning = by_rank._replace(
        name="ranked", about=f"{about}, learnt on line", prepare=_learnt, depends=("entries", "step_ms", "classes"),
        code=(*CODE, *LEARNER),
    )  # fmt: skip
    yield learning
    told, final = f"{about}, told", (*learning.depends, "final_accuracy", "seed")
    yield learning._replace(
        name="ranked+final", about=f"{told} when a session ends", prepare=_learnt_with_final, depends=final, uses_future=True
    )
    yield learning._replace(name=ANNOUNCED, about=f"{told} which request comes next", prepare=_announced, uses_future=True)
    yield learning._replace(
        name="ranked+final+announce", about=f"{told} both", prepare=_announced_with_final, depends=final, uses_future=True
    )


# ---- what the hints are ------------------------------------------------------------------------------------------------


def _by_age(stream: Stream, options: Options) -> Hints:
    return hinting.by_age(stream)


def _learnt(stream: Stream, options: Options) -> Hints:
    return learnt(stream, options._replace(final_accuracy=None))


def _learnt_with_final(stream: Stream, options: Options) -> Hints:
    return learnt(stream, options)


def _announced(stream: Stream, options: Options) -> Hints:
    return learnt(stream, options._replace(final_accuracy=None), announced=True)


def _announced_with_final(stream: Stream, options: Options) -> Hints:
    return learnt(stream, options, announced=True)


def learnt(stream: Stream, options: Options, **more: Any) -> Hints:
    """What the learner (policy/ranked.py) tells along the stream; `more` goes to it."""
    return hinting.learnt(
        stream, step_ms=options.step_ms, entries=options.entries, final_accuracy=options.final_accuracy, seed=options.seed,
        classes=options.classes, **more,
    )  # fmt: skip


# ---- the runs ----------------------------------------------------------------------------------------------------------


def linear(weights: str | Mapping[str, int]) -> Runner:
    """Under the linear policy with these weights, or those of a preset."""

    def run(stream: Stream, capacity: int, options: Options, prepared: Any) -> Run:
        from ..compiled import run_linear

        return _run(stream, run_linear(stream, weights, capacity, **_of_device(stream, options)))

    return run


def _ranked(stream: Stream, capacity: int, options: Options, hints: Any) -> Run:
    from ..compiled import run_ranked

    found = _run(stream, run_ranked(stream, hints, capacity, **_of_device(stream, options)))
    last = hints.table_of[-1] if stream.requests else -1
    return found if last < 0 else found._replace(samples={**(found.samples or {}), "table": hints.tables[last]})


def _of_device(stream: Stream, options: Options) -> dict[str, Any]:
    steps = int((stream.times[-1] - stream.times[0]) / options.step_ms) if stream.requests else 0
    return dict(entries=options.entries, step_ms=options.step_ms, sample_every=max(1, steps // SAMPLES))


def _run(stream: Stream, outcome: Outcome) -> Run:
    counts = {name: int(getattr(outcome, name)) for name in ("evictions", "loads", "unloads", "unplaced", "steps", "searched")}
    return Run(*stream.hits_of_requests(outcome.hits), int(outcome.fills), counts, _arrays(outcome.samples))


def _arrays(samples: Any) -> dict[str, NDArray[Any]]:
    return {name: getattr(samples, name) for name in ("step", "t1_used", "theta", "pool")}
