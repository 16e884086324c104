"""Commands about settings: weights, config, reset."""

from __future__ import annotations

import click

from ..contract import presets
from ..contract.commands import Result, Set
from ..session.purpose import Purpose
from . import output
from .app import App, note
from .values import NUMBER


@click.group(invoke_without_command=True)
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
        note(warning)


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
        app.present({"command": "config", "code": "OK"} | found, lambda: output.print_pairs("configuration", found))
        return
    # what the device may refuse comes first, so that a refusal changes nothing: a T1 larger than the directory whatever
    # else, then EVICT_TIER while blocks are loaded
    given.sort(key=lambda s: not (s.setting == "T1_CAPACITY" and s.value > app.device().entries))
    result = app.execute_all(given)
    app.show("config", result, **_configuration(app.device().settings()))


def _configuration(settings: dict[str, int]) -> dict[str, int | list[int]]:
    names = ("T1_CAPACITY", "EVICT_TIER", "STRICT", "CONTEND_POLICY")
    return {
        **{name.lower(): settings[name] for name in names},
        "tier_base": [settings[f"TIER_BASE{tier}"] for tier in range(4)],
    }


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
