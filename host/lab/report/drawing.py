"""From a matplotlib figure to what stands in the report: an SVG element inside the page, and a PNG beside it.

Text stays text, nothing points anywhere outside, the ids of one picture are not those of another, and the same figure gives the
same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
DPI = 200
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.5, "axes.titlesize": 10.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 9.0, "figure.facecolor": "white",
    "svg.fonttype": "none", "svg.hashsalt": "kvfpga", "text.parse_math": False,
}  # fmt: skip
"""`text.parse_math`: a name with dollar signs is a name."""


@contextmanager
def style() -> Iterator[None]:
    """Figures are made and drawn in it."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def png(figure: Figure) -> bytes:
    """For a paper, at DPI."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def svg(figure: Figure, name: str, title: str) -> str:
    """The element for a page. `name` goes before every id in it; `title` is read to who cannot see it."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(file.getvalue())
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, f"{name}-{value}" if key == "id" else re.sub(r"(^|url\()#", rf"\g<1>#{name}-", value))
    root.set("role", "img")
    root.set("aria-label", title)
    return ElementTree.tostring(root, encoding="unicode")
