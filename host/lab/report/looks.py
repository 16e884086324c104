"""How each policy looks in every plot: the device's own in strong colours and thick, published ones thin, the bounds in black.

The colours are those of Okabe and Ito, which people of any colour vision tell apart. No two published policies have both marker
and colour in common, and the device's own differ in marker and dashes too, so that a print without colours can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..cells import CEILING, FLOOR
from .content import is_device

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
PUBLISHED_COLOURS = (SKY, GREEN, PURPLE, ORANGE)
PUBLISHED_MARKERS = "sv^Dphd<>PX"
OWN_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
OWN_MARKERS = "o*sXp"


def looks(policies: Sequence[str], futures: frozenset[str] = frozenset()) -> dict[str, dict[str, Any]]:
    """Arguments of a matplotlib line for each policy. `futures`: those that use the future, whose markers are hollow."""
    found: dict[str, dict[str, Any]] = {}
    published = ranked = linear = 0
    for policy in sorted(policies):
        if policy == FLOOR:
            found[policy] = {"color": BLACK, "linestyle": "--", "marker": "|", "linewidth": 1.4, "zorder": 4}
        elif policy == CEILING:
            found[policy] = {"color": BLACK, "linestyle": ":", "marker": "_", "linewidth": 1.4, "zorder": 4}
        elif is_device(policy):
            number = ranked if (is_ranked := policy.startswith("ranked")) else linear
            ranked, linear = ranked + is_ranked, linear + (not is_ranked)
            how = {"linestyle": OWN_DASHES[number % 5], "marker": OWN_MARKERS[number % 5], "linewidth": 2.6, "markersize": 7}
            found[policy] = {"color": VERMILLION if is_ranked else BLUE, "zorder": 5, **how}
        else:
            colour, marker = PUBLISHED_COLOURS[published % 4], PUBLISHED_MARKERS[published % 11]
            found[policy] = {"color": colour, "linestyle": "-", "marker": marker, "linewidth": 1.0, "markersize": 5, "zorder": 3}
            published += 1
        if policy in futures:
            found[policy] |= {"markerfacecolor": "white"}
    return found
