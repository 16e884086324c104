"""Choosing the numbers of a device's policy by Optuna, and judging them on what they were not chosen on.

The requests are split in time. Each trial runs on the first half alone, and before that on a part of it: a trial that is not
among the best there ends with it. The second half judges: chosen and usual values run over the whole trace, and only what its
requests touch is counted. So the device is warm by then, and no touch that chose also judges. Which values are tried depends on
the seed and the scores alone, so the same run chooses the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..contract import presets
from ..contract.errors import UsageError
from ..policy.constants import DEFAULT, Constants
from .policies import on_device
from .policies.contender import Options
from .stream import Stream

if TYPE_CHECKING:
    from optuna.trial import BaseTrial as Trial

    from .kernels.planning import Plan

Values = dict[str, float | int]
Progress = Callable[[int, int, str], None]

HIGHEST = 0xFFFF
"""Of the linear policy's scores and thresholds."""
WEIGHT_SUM = 256
"""With weights that add up to it no score wraps (R14), and the thresholds have the whole range."""


PART = 4
"""A trial shows on a quarter of the first half whether the rest is worth the time."""
KEPT = 25.0
"""It goes on where it is there among the best so many percent of the trials before."""


class Piece(NamedTuple):
    """What a run is over: a stream, and what is sent for it, which no value changes."""

    stream: Stream
    planned: Plan


class Tunable(NamedTuple):
    """`suggest` makes values of a trial's draws, `usual` are the draws of the values in use, `hits` is bool[m] of a run."""

    suggest: Callable[[Trial], Values]
    usual: dict[str, float | int]
    default: Values
    hits: Callable[[Piece, int, Options, Values], Any]


class Tuned(NamedTuple):
    """Scores are hit rates: `first_half` of a run over it alone, `second_half` behind a run over the first. `stopped`: how many
    trials saw a part of the first half only."""

    default: Values
    chosen: Values
    first_half: dict[str, float]
    second_half: dict[str, float]
    requests: tuple[int, int]
    stopped: int


def tune(
    stream: Stream, policy: str, capacity: int, options: Options, trials: int, seed: int, progress: Progress
) -> Tuned:
    """UsageError where there is nothing to split or to try."""
    import optuna

    if policy not in TUNABLE:
        raise UsageError(f"{policy} has no values to tune", f"give one of {', '.join(TUNABLE)}")
    if trials < 1:
        raise UsageError(f"{trials} trials choose nothing", "give --trials 1 or more")
    half = stream.requests // 2
    boundary = int(stream.offsets[half])
    if not 0 < boundary < stream.touches:
        raise UsageError(f"{stream.name} has too few requests to be split in two", "give a longer trace")
    tunable = TUNABLE[policy]
    part, first, whole = (_piece(first_requests(stream, count), options) for count in (half // PART, half, stream.requests))

    def rate(piece: Piece, values: Values, boundary: int = 0) -> float:
        return float(tunable.hits(piece, capacity, options, values)[boundary:].mean())

    def score(trial: Trial) -> float:
        values = tunable.suggest(trial)
        if part.stream.touches:
            trial.report(rate(part, values), 0)
            if trial.should_prune():
                raise optuna.TrialPruned
        return rate(first, values)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.PercentilePruner(KEPT)
    )
    study.enqueue_trial(tunable.usual)  # so that what is chosen is never worse where it is chosen
    study.optimize(score, trials, callbacks=[lambda study, trial: progress(trial.number + 1, trials, f"{study.best_value:.2%}")])
    values = {"default": tunable.default, "chosen": tunable.suggest(optuna.trial.FixedTrial(study.best_params))}
    return Tuned(
        **values,
        first_half={name: rate(first, these) for name, these in values.items()},
        second_half={name: rate(whole, these, boundary) for name, these in values.items()},
        requests=(half, stream.requests - half),
        stopped=len(study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.PRUNED])),
    )


def _piece(stream: Stream, options: Options) -> Piece:
    from .compiled import plan

    return Piece(stream, plan(stream, options.entries, options.step_ms))


def first_requests(stream: Stream, count: int) -> Stream:
    """The stream that ends behind so many requests."""
    end = stream.offsets[count]
    return stream._replace(
        times=stream.times[:count], input_lengths=stream.input_lengths[:count], output_lengths=stream.output_lengths[:count],
        offsets=stream.offsets[: count + 1], blocks=stream.blocks[:end],
    )  # fmt: skip


# ---- the linear policy: weights, thresholds and window -------------------------------------------------------------------


def _suggest_linear(trial: Trial) -> Values:
    shares = {name: trial.suggest_float(name, 0.0, 1.0) for name in ("w_r", "w_f", "w_s", "w_d")}
    total = sum(shares.values()) or 1.0
    evict = trial.suggest_int("evict", 0, HIGHEST)
    above = trial.suggest_float("prefetch", 0.0, 1.0)
    return {
        **{name: int(WEIGHT_SUM * share / total) for name, share in shares.items()},
        "evict": evict, "prefetch": evict + int(above * (HIGHEST - evict)), "window": trial.suggest_int("window", 1, 255),
    }  # fmt: skip


def _linear_draws(preset: dict[str, int]) -> dict[str, float | int]:
    """The draws that `_suggest_linear` makes this preset of, but for rounding."""
    above = (preset["prefetch"] - preset["evict"]) / (HIGHEST - preset["evict"])
    return {**preset, **{name: preset[name] / WEIGHT_SUM for name in ("w_r", "w_f", "w_s", "w_d")}, "prefetch": above}


def _linear_hits(piece: Piece, capacity: int, options: Options, values: Values) -> Any:
    from .compiled import run_linear

    weights = {name: int(value) for name, value in values.items()}
    return run_linear(piece.stream, weights, capacity, entries=options.entries, planned=piece.planned).hits


# ---- the ranked policy: the learner's constants --------------------------------------------------------------------------

LEARNERS = ("table_s", "continuation", "prior_events", "factor_events", "smoothings", "closure_bucket", "closure_lead")
"""Those of `Constants` that are tuned. The limits of the classes stay: how many there may be, the device's PTABLE says."""


def _suggest_constants(trial: Trial) -> Values:
    return {
        "table_s": trial.suggest_float("table_s", 5.0, 60.0, log=True),
        "continuation": trial.suggest_float("continuation", 0.5, 1.0),
        "prior_events": trial.suggest_float("prior_events", 1.0, 100.0, log=True),
        "factor_events": trial.suggest_float("factor_events", 0.05, 10.0, log=True),
        "smoothings": trial.suggest_int("smoothings", 0, 4),
        "closure_bucket": trial.suggest_int("closure_bucket", 0, 40),
        "closure_lead": trial.suggest_int("closure_lead", 1, 32),
    }


def _ranked_hits(piece: Piece, capacity: int, options: Options, values: Values) -> Any:
    from .compiled import run_ranked

    constants: Constants = DEFAULT._replace(**values)  # type: ignore[arg-type]  # of a NamedTuple's fields, by name
    hints = on_device.learnt(piece.stream, options._replace(final_accuracy=None), constants=constants)
    return run_ranked(piece.stream, hints, capacity, entries=options.entries, planned=piece.planned).hits


_USUAL_CONSTANTS: Values = {name: getattr(DEFAULT, name) for name in LEARNERS}
_USUAL_WEIGHTS = presets.PRESETS[presets.DEFAULT]

TUNABLE = {
    "linear": Tunable(_suggest_linear, _linear_draws(_USUAL_WEIGHTS), dict(_USUAL_WEIGHTS), _linear_hits),
    "ranked": Tunable(_suggest_constants, _USUAL_CONSTANTS, _USUAL_CONSTANTS, _ranked_hits),
}
