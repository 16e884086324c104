"""Commands about settings: weights, config, policy, reset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contract import presets, rank_tables
from ..contract.commands import Result, Set
from ..contract.errors import UsageError
from ..contract.settings import LINEAR, RANKED
from ..session.purpose import Purpose
from . import output
from .app import App, warn
from .later import Group
from .values import NUMBER, RANK_TABLE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..lockstep.surface import Surface

TABLE = f"FILE.npy|{rank_tables.AGE}"
TABLE_HELP = f"Codes, uint8[classes, 64], or `{rank_tables.AGE}`: whatever its class, what was used longest ago goes first."


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def weights(ctx: click.Context) -> None:
    """Show or set the weights, thresholds and window of the score (contract R14)."""
    if ctx.invoked_subcommand is None:
        app: App = ctx.obj
        found = presets.weights(app.device(Purpose.LOOK).settings())
        app.present({"command": "weights", "code": "OK"} | found, lambda: output.print_pairs("weights", found))


@weights.command("set")
@click.option("--w-r", type=NUMBER, help="Weight of recency R, 0-255.")
@click.option("--w-f", type=NUMBER, help="Weight of frequency F, 0-255.")
@click.option("--w-s", type=NUMBER, help="Weight of the step distance S, 0-255.")
@click.option("--w-d", type=NUMBER, help="Weight of shared prefixes D, 0-255.")
@click.option("--evict", type=NUMBER, help="Below this priority a block leaves T1, 0-65535.")
@click.option("--prefetch", type=NUMBER, help="Above this priority a block comes back to T1, 0-65535.")
@click.option("--window", type=NUMBER, help="Steps around an access that protect a block (W), 0-255.")
@click.pass_obj
def set_weights(app: App, /, **values: int | None) -> None:
    """Set some of them. A value that the device refuses leaves all of them as they were."""
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        raise click.UsageError("Nothing to set. See `kvfpga weights set --help`.")
    _program(app, given)


@weights.command()
@click.argument("name", type=click.Choice(list(presets.PRESETS)))
@click.pass_obj
def preset(app: App, name: str) -> None:
    """Set all of them: `seed` has the values after a reset, `balanced` those that `kvfpga reset` programs."""
    _program(app, presets.PRESETS[name])


def _program(app: App, values: dict[str, int]) -> None:
    result = app.execute_all(presets.sets(values))
    settings = app.device().settings()
    app.show("weights", result, **presets.weights(settings))
    if warning := presets.wrap_warning(settings):
        warn(warning)


@click.command()
@click.option("--t1-capacity", type=NUMBER, help="Blocks that fit into T1, 0-ENTRIES.")
@click.option(
    "--evict-tier", type=click.Choice(["2", "3"]), help="Where evicted blocks go; only while no block is loaded."
)
@click.option("--strict", type=click.Choice(["0", "1"]), help="1: a command waits for the DMA of the one before.")
@click.option("--contend-policy", type=click.Choice(["0", "1"]), help="DMA channels: 0 take turns, 1 evictions first.")
@click.option("--clear-counters", is_flag=True, help="Set all counters of the telemetry to zero.")
@click.pass_obj
def config(
    app: App, t1_capacity: int | None, evict_tier: str | None, strict: str | None, contend_policy: str | None,
    clear_counters: bool,
) -> None:  # fmt: skip
    """Show the device's configuration, or change it. A value that the device refuses leaves all of it as it was."""
    given = []
    if evict_tier:
        given.append(Set("EVICT_TIER", int(evict_tier)))
    if t1_capacity is not None:
        given.append(Set("T1_CAPACITY", t1_capacity))
    if strict:
        given.append(Set("STRICT", int(strict)))
    if contend_policy:
        given.append(Set("CONTEND_POLICY", int(contend_policy)))
    if clear_counters:
        given.append(Set("CLEAR_COUNTERS", 0))
    if not given:
        found = _configuration(app.device(Purpose.LOOK).settings())
        bases = ", ".join(map(hex, found["tier_base"]))
        app.present(
            {"command": "config", "code": "OK"} | found,
            lambda: output.print_pairs("configuration", found | {"tier_base": bases}),
        )
        return
    # what the device may refuse comes first, so that a refusal changes nothing: a T1 larger than the directory whatever
    # else, then EVICT_TIER while blocks are loaded
    given.sort(key=lambda s: not (s.setting == "T1_CAPACITY" and s.value > app.device().entries))
    result = app.execute_all(given)
    app.show("config", result, **_configuration(app.device().settings()))


def _configuration(settings: dict[str, int]) -> dict[str, Any]:
    names = ("T1_CAPACITY", "EVICT_TIER", "STRICT", "CONTEND_POLICY")
    return {
        **{name.lower(): settings[name] for name in names},
        "tier_base": [settings[f"TIER_BASE{tier}"] for tier in range(4)],
    }


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def policy(ctx: click.Context) -> None:
    """Show or choose how a step decides what tier 1 holds (contract R40).

    \b
    linear   each block by thresholds on its weighted score (see `weights`)
    ranked   the T1 places go to the blocks that rank highest. A rank is
             the code that a table has for the block's class and for the
             steps since its access, then the block's order. Class and
             order come from `load`, `lookup --touch` and `class`.
    """
    if ctx.invoked_subcommand is None:
        app: App = ctx.obj
        found = _policy(app.device(Purpose.LOOK))
        app.present({"command": "policy", "code": "OK"} | found, lambda: output.print_pairs("policy", found))


@policy.command()
@click.pass_obj
def linear(app: App) -> None:
    """Decide by thresholds on the weighted score: what the device does after a reset."""
    app.show("policy", app.execute_all([Set("POLICY", LINEAR)]), **_policy(app.device()))


@policy.command()
@click.option("--table", type=RANK_TABLE, metavar=TABLE,
              help=TABLE_HELP + "  [default: the one in force; all zero after a reset]")  # fmt: skip
@click.option("--fill-age", type=NUMBER, help="Steps behind its access in which a block outside T1 contends for it, 0-255.")
@click.pass_obj
def ranked(app: App, table: str | None, fill_age: int | None) -> None:
    """Decide by rank. A value that the device refuses leaves all as it was."""
    device = app.device()
    codes = None if table is None else _read_table(table, device)
    if (first := rank_tables.before(fill_age)) and (result := app.execute_all(first)).code != "OK":
        app.show("policy", result, **_policy(device))
        return
    if codes is not None:
        device.write_table(codes)
    app.show("policy", app.execute_all(rank_tables.behind(codes is not None)), **_policy(device))


@policy.command("table")
@click.argument("table", metavar=TABLE, type=RANK_TABLE)
@click.pass_obj
def write_table(app: App, table: str) -> None:
    """Write a table into the bank that is not in force. `reg write PTABLE_COMMIT 1` swaps the banks."""
    device = app.device()
    device.write_table(_read_table(table, device))
    found, idle = _policy(device), 1 - device.settings()["PTABLE_COMMIT"]
    app.present({"command": "policy", "code": "OK"} | found, lambda: output.echo(f"table written into bank {idle}"))


def _read_table(table: str, device: Surface) -> NDArray[np.uint8]:
    classes = device.model.classes
    if table == rank_tables.AGE:
        return rank_tables.by_age(classes)
    if not Path(table).exists():
        raise UsageError(f"there is no table {table}", f"name a file as numpy.save writes it, or `{rank_tables.AGE}`")
    return rank_tables.read(Path(table), classes)


def _policy(device: Surface) -> dict[str, str | int]:
    """`bank`: of the table in force."""
    settings = device.settings()
    return {
        "policy": "ranked" if settings["POLICY"] == RANKED else "linear", "fill_age": settings["FILL_AGE"],
        "bank": settings["PTABLE_COMMIT"], "classes": device.model.classes,
    }  # fmt: skip


@click.command()
@click.option("--raw", is_flag=True, help="Keep the reset values instead of the preset `balanced`.")
@click.pass_obj
def reset(app: App, raw: bool) -> None:
    """Empty the directory and start over at step 0. Memory keeps its bytes.

    Also the way out where a session cannot be used any more: it then starts anew.
    """
    device = app.device(Purpose.RESET)
    device.reset()
    result = Result("OK") if raw else app.execute_all(app.opened.initial())
    app.show("reset", result)
