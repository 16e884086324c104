"""The report of the policy lab: what the cells in a folder say, as one page, as JSON, and as pictures for papers.

    report.write(Path("DIR"))           # DIR/report.html, DIR/report.json, DIR/*.png

report.html opens without a network: its pictures are in it, and it loads nothing. report.json has every cell, and is the same for
the same cells but for `times`. What a run that was cut off has finished is reported; what did not finish in its time is named.
The claims of `kvfpga claims --out DIR` (DIR/claims.json) get a section of their own where they are there.

content.py says what is shown, plots.py draws it, looks.py and drawing.py say how, template.html has the words.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...contract import inputs
from ...contract.errors import UsageError
from ...contract.parameters import DEFAULT
from ...contract.version import __version__
from .. import cells, extra
from ..cells import Cell
from . import content as contents
from .content import Content, TraceView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HTML, JSON, CLAIMS = "report.html", "report.json", "claims.json"


def write(place: Path, block_bytes: int | None = None, facts: Mapping[str, str] | None = None) -> Path:
    """Write the report of the cells below `place` into it, and return where the page is. `block_bytes`: what a fill moves,
    None for a block of the device as it is built by default. `facts`: what else a number is repeated with, such as a BUILD_ID.
    UsageError where there are no cells, or a library is missing."""
    extra.require("jinja2", "matplotlib")
    import jinja2

    from . import plots
    from .drawing import style

    place = Path(place)
    content = contents.gather(place)
    size = block_bytes or DEFAULT.block_bytes
    with style():
        sections = [_section(place, number, view, size) for number, view in enumerate(content.traces, 1)]
        tables = _tables(place, content)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__, "."), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": _percent, "count": _count, "points": _points}
    environment.globals |= {"label": contents.label, "shown": contents.shown, "is_device": contents.is_device}
    page = environment.get_template("template.html").render(
        content=content, sections=sections, tables=tables, block_bytes=size, is_default_block=block_bytes is None,
        claims=_claims(place), commands=_commands(content), least_share=plots.LEAST_SHARE,
        facts={"kvfpga": __version__, **_versions(content), **(facts or {})},
    )  # fmt: skip
    cells.write_whole(place / JSON, (json.dumps(contents.to_json(content), indent=1) + "\n").encode())
    cells.write_whole(place / HTML, page.encode("utf-8", "replace"))
    return place / HTML


def _section(place: Path, number: int, view: TraceView, block_bytes: int) -> dict[str, Any]:
    """The pictures of a trace, by their names, and the rest of what the page says of it."""
    from . import plots

    samples = {(cell.policy, cell.capacity): cells.samples(place, cell) for cell in view.cells}
    whole = {key: taken for key, taken in samples.items() if taken is not None and {"step", "t1_used", "theta"} <= set(taken)}
    name = f"trace-{number}"
    pictures = {
        "rates": plots.rates(view),
        "gap": plots.gap_and_bytes(view, block_bytes),
        "time": plots.over_time(view, whole),
    }
    titles = {
        "rates": "hit rate and prefix-hit rate over the capacity of tier 1",
        "gap": "share of the gap, and bytes moved, over the capacity of tier 1",
        "time": "places of tier 1 in use, and the priority that stays, over time",
    }
    drawn = {
        key: _draw(place, figure, f"{name}-{key}", f"{view.title}: {titles[key]}")
        for key, figure in pictures.items()
        if figure is not None
    }
    return {"view": view, "id": name, "bests": list(view.bests()), "pictures": drawn}


def _tables(place: Path, content: Content) -> list[str]:
    """A picture of each rank table that was kept: of a trace and policy, the one of its largest capacity."""
    from . import plots

    kept: dict[tuple[str, str], tuple[Cell, Any]] = {}
    for cell in content.cells:
        taken = cells.samples(place, cell)
        if taken is not None and getattr(taken.get("table"), "ndim", 0) == 2:
            kept[cell.trace, cell.policy] = cell, taken["table"]
    return [
        _draw(place, plots.rank_table(cell, table), f"table-{number}", f"rank table of {contents.label(cell)}")
        for number, (cell, table) in enumerate(kept.values(), 1)
    ]


def _draw(place: Path, figure: Figure, name: str, title: str) -> str:
    from .drawing import png, svg

    cells.write_whole(place / f"{name}.png", png(figure))
    return svg(figure, name, title)


def _claims(place: Path) -> list[dict[str, str]]:
    path = place / CLAIMS
    if not path.exists():
        return []
    try:
        found: list[dict[str, str]] = inputs.strict_json(inputs.read_text(path))["claims"]
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path} has no claims: {error}", f"make it again: kvfpga claims --out {place}") from None
    return found


def _commands(content: Content) -> list[str]:
    """The command lines that make the cells again: one for each trace, and each set of options of its policies."""
    words = {
        "entries": "--entries", "step_ms": "--step-ms", "classes": "--classes", "final_accuracy": "--final-accuracy",
        "seed": "--seed",
    }  # fmt: skip
    alike: dict[tuple[str, str], list[Cell]] = {}
    for cell in content.cells:
        options = "".join(f"{words[name]} {value:g} " for name, value in contents.options(cell).items() if name in words)
        alike.setdefault((cell.trace, options), []).append(cell)
    lines = []
    for (trace, options), found in alike.items():
        policies = shlex.quote(",".join(dict.fromkeys(cell.policy for cell in found)))
        capacities = ",".join(map(str, sorted({cell.capacity for cell in found})))
        chosen = f"--limit {found[0].requests} --policy {policies} --capacity {capacities}"
        lines.append(f"kvfpga lab run {shlex.quote(contents.shown(trace))} {chosen} {options}--out DIR")
    return lines


def _versions(content: Content) -> dict[str, str]:
    """Of the libraries that computed the cells; all, where they were computed with several."""
    found: dict[str, dict[str, None]] = {}
    for cell in content.cells:
        for name, version in cell.versions.items():
            found.setdefault(name, {})[version] = None
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"
