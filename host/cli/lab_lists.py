"""kvfpga lab policies, kvfpga lab traces: what there is to run, and what a trace is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import output
from .app import App, usable
from .lab_run import LIMIT, TIME_UNIT
from .values import TRACE

if TYPE_CHECKING:
    from ..lab.sources import Source


@click.command(short_help="What can be compared, and what uses the future.")
@click.pass_obj
def policies(app: App) -> None:
    """The policies that `kvfpga lab run` can compare.

    What uses the future knows what a host cannot know: it is a bound, or shows what a hint would be worth.
    """
    from ..lab.policies.contenders import USUAL, named, names

    rows = [*usable(names(), named)]
    if app.json:
        for row in rows:
            output.print_json({"command": "lab policies", "policy": row.name, "about": row.about, "source": row.source,
                               "uses_future": row.uses_future, "draws": row.draws, "usual": row.name in USUAL})  # fmt: skip
        return
    output.print_table(
        "policies of the lab", ("policy", "what it does", "from", "usual", "uses the\nfuture"),
        [(row.name, row.about, row.source, "yes" if row.name in USUAL else "", "yes" if row.uses_future else "") for row in rows],
    )  # fmt: skip


@click.command(short_help="What a trace is: format, sizes, how much comes back.")
@click.argument("files", nargs=-1, required=True, metavar="TRACE...", type=TRACE)
@LIMIT
@TIME_UNIT
@click.pass_obj
def traces(app: App, files: tuple[str, ...], limit: int | None, time_unit: str | None) -> None:
    """What traces are: format, requests, touches, blocks, how much comes back, how long, and under which licence.

    TRACE as in `kvfpga lab run`. A licence is looked for in the files beside the trace whose names begin with LICENSE or NOTICE.
    """
    from ..lab import sources

    for file in files:
        found = describe(sources.opened(file, limit, time_unit))
        if app.json:
            output.print_json({"command": "lab traces"} | found)
        else:
            output.print_pairs(found["trace"], {**found, "reuse_share": f"{found['reuse_share']:.1%}",
                                                "licence": ", ".join(found["licence"]) or "no file beside it says"})  # fmt: skip


def describe(source: Source) -> dict[str, Any]:
    """The facts of a trace. `reuse_share`: touches of blocks that were touched before; `largest_request`: blocks."""
    stream = source.stream
    sizes = stream.offsets[1:] - stream.offsets[:-1]
    return {
        "trace": stream.name, "format": source.title, "generated": source.generated, "requests": stream.requests,
        "touches": stream.touches, "blocks": len(stream.ids), "reuse_share": 1 - len(stream.ids) / stream.touches,
        "largest_request": int(sizes.max()), "block_tokens": stream.block_tokens,
        "seconds": float(stream.times[-1] - stream.times[0]) / 1e3, "licence": licence(source.path),
    }  # fmt: skip


def licence(path: Path | None) -> list[str]:
    """Names of the files beside a trace that say under which terms it may be used: those with its name in theirs, else all."""
    if path is None:
        return []
    beside = sorted(
        found.name for found in path.resolve().parent.iterdir() if found.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE"))
    )
    stem = path.name.split(".")[0].lower()
    return [name for name in beside if any(part in stem for part in name.lower().split(".")[1:-1])] or beside
