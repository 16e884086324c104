"""Weights, thresholds and window that go together (R6, R14, contract section 8).

`seed` is what the device has after a reset: the values of the existing Linux driver, under which an unshared block
falls below EVICT_THRESH at once. `balanced` is what `kvfpga reset` programs: its weights add up to 256, so no score
wraps, and a block stays in tier 1 for about half a window after its last access.
"""

from __future__ import annotations

from .commands import Set
from .settings import LIMITS, RESET

SETTING_OF = {
    "w_r": "WEIGHT_R",
    "w_f": "WEIGHT_F",
    "w_s": "WEIGHT_S",
    "w_d": "WEIGHT_D",
    "evict": "EVICT_THRESH",
    "prefetch": "PREFETCH_THRESH",
    "window": "WINDOW",
}
"""The names on the command line (`weights set --w-r …`) and the settings behind them."""

NAME_OF = {setting: name for name, setting in SETTING_OF.items()}

PRESETS: dict[str, dict[str, int]] = {
    "seed": {name: RESET[setting] for name, setting in SETTING_OF.items()},
    "balanced": dict(w_r=48, w_f=16, w_s=128, w_d=64, evict=20000, prefetch=60000, window=255),
}
DEFAULT = "balanced"

WRAP_LIMIT = 257
"""With weights that add up to at most this, P cannot exceed 16 bits (R14)."""


def sets(values: dict[str, int]) -> list[Set]:
    """The commands that put `values` in force, those that the device will refuse (R6) first: a refusal then changes nothing."""
    names = sorted(values, key=lambda name: values[name] <= LIMITS[SETTING_OF[name]])
    return [Set(SETTING_OF[name], values[name]) for name in names]


def weights(settings: dict[str, int]) -> dict[str, int]:
    """Those of `settings` that a preset holds, by their command-line names."""
    return {name: settings[setting] for name, setting in SETTING_OF.items()}


def wrap_warning(settings: dict[str, int]) -> str | None:
    """What to tell somebody whose weights let scores wrap (R14), or None."""
    total = sum(settings[SETTING_OF[name]] for name in ("w_r", "w_f", "w_s", "w_d"))
    if total <= WRAP_LIMIT:
        return None
    return f"the weights add up to {total}, above {WRAP_LIMIT}: priorities can wrap past 65535 (contract R14)"
