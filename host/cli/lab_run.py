"""kvfpga lab run: the cells, and the tables that people read."""

from __future__ import annotations

import os
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..contract.errors import UsageError
from ..contract.wording import counted
from . import output
from .app import App, note, warn
from .values import POLICIES, TRACE, Number

if TYPE_CHECKING:
    from ..lab.runs import Pool

FAILED_CODE = 3
LONGEST = 1_000_000
"""Seconds that a timeout may have."""
MOST_JOBS = 1024
TIME_UNIT = click.option(
    "--time-unit", type=click.Choice(["s", "ms"]),
    help="Of the traces' timestamps.  [default: what their format says; asked for where it does not]",
)  # fmt: skip
LIMIT = click.option("--limit", type=Number(32), help="Only the first so many requests of each trace.")


@click.command(short_help="What would have hit in tier 1: traces, policies, sizes.")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...", type=TRACE)
@click.option("--policy", "policies", type=POLICIES, metavar="NAME,...",
              help="What to compare (`kvfpga lab policies`).  [default: the usual ones]")  # fmt: skip
@click.option("--capacity", "sizes", metavar="N,...", default="1024,2048,4096,8192,16384", show_default=True,
              help="Blocks that fit into T1; 1% is a share of a trace's different blocks.")  # fmt: skip
@click.option("--entries", type=Number(32), default=65536, show_default=True, help="Directory entries of the device.")
@click.option("--step-ms", type=float, default=100.0, show_default=True, help="Milliseconds of the trace for each decode step.")
@click.option("--classes", type=Number(16), default=256, show_default=True, help="Classes of the device's rank table.")
@click.option("--final-accuracy", type=float, metavar="Q",
              help="Share of requests, 0 to 1, in which `ranked+final` and `ranked+final+announce` are told right whether the "
              "session ends: from the future, since a trace does not say it.  [default: 0.9, and both only where they are "
              "named]")  # fmt: skip
@click.option("--seed", type=Number(63), default=0, show_default=True, help="Draws in which requests it is told wrong.")
@LIMIT
@TIME_UNIT
@click.option("--jobs", type=Number(16), help="Processes that compute at the same time.  [default: as many as there are cores]")
@click.option("--scheduler", metavar="ADDRESS",
              help="A Dask scheduler whose workers compute instead, as tcp://lab3:8786.")  # fmt: skip
@click.option("--timeout", type=float, metavar="SECONDS",
              help="Processor time that a cell may take, however busy the machine; then it is shown as timed out.  "
              "[default: no limit]")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Keeps finished cells, computed again only where what they depend on changes, and the report.")  # fmt: skip
@click.pass_obj
def run(
    app: App, traces: tuple[str, ...], policies: str | None, sizes: str, entries: int, step_ms: float,
    classes: int, final_accuracy: float | None, seed: int, limit: int | None, time_unit: str | None, jobs: int | None,
    scheduler: str | None, timeout: float | None, out: Path | None,
) -> None:  # fmt: skip
    """Run cache policies over request traces: what would have hit in tier 1?

    TRACE is a file as `kvfpga replay` takes it, `sample` (a small one that comes along), or generated:NAME, made by a generator
    that comes along (generated:NAME:SEED for another seed).

    \b
    kvfpga lab run sample --capacity 64,128
    kvfpga lab run traffic.jsonl --out results --jobs 4
    kvfpga lab run a.jsonl b.jsonl --policy lru,mq,ranked --capacity 1%,5%

    LRU and the optimum always run: the gap between them is what a policy is measured by.
    """
    from ..lab import extra

    extra.require("numba", "libcachesim", *["distributed"] * bool(scheduler), *["jinja2", "matplotlib"] * bool(out))
    from ..lab import one_run, runs, sources
    from ..lab.policies.contender import Options
    from ..lab.policies.contenders import accuracy
    from .lab_tables import tables

    if timeout is not None and not 0 < timeout <= LONGEST:
        raise UsageError(f"a timeout of {timeout:g} seconds", f"give more than 0 and not more than {LONGEST:,}, or none")
    if jobs is not None and not 0 < jobs <= MOST_JOBS:
        raise UsageError(f"{jobs:,} processes are to compute", f"give --jobs 1 to {MOST_JOBS}")
    runs.check_capacities(sizes)
    options = Options(entries, step_ms, accuracy(final_accuracy, policies), seed, classes).checked()
    app.stays = f"finished cells are in {out}, and the same command goes on" if out else "nothing is kept without --out"
    with one_run.alone_in(out) if out else nullcontext():
        opened = sources.all_opened(traces, limit, time_unit)
        for source in opened:
            note(f"{source.stream.name}: {source.title}, {counted(source.stream.touches, 'touch', 'touches')}")
        asked = runs.wanted(opened, policies, sizes, options)
        with closing(_pool(scheduler, jobs, timeout)) as pool, app.progress("cells") as update:
            found = runs.run(asked, options, pool, out, timeout, update, note)
    if app.json:
        for cell in found:
            output.print_json(cell.to_json())
    else:
        for table in tables(found):
            output.print_rich(table)
    if out:
        from ..lab import report
        from .lab_report import facts

        note(f"report: {report.write(out, facts=facts(app))}")
    if failed := [cell for cell in found if cell.status == "failed"]:
        for cell in failed:
            warn(f"{cell.name} failed: {cell.reason}")
        app.code = max(app.code, FAILED_CODE)


def _pool(scheduler: str | None, jobs: int | None, timeout: float | None) -> Pool:
    if scheduler is None:
        from ..lab.pools import Local

        return Local(jobs or len(os.sched_getaffinity(0)), timeout)
    if jobs is not None:
        raise UsageError("--jobs is of this machine, --scheduler of others", "leave one of them out")
    from ..lab.dask_pool import Dask

    return Dask(scheduler, timeout)
