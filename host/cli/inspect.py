"""Commands that look: telemetry, dump, info, verify, sync."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..contract.commands import Result
from ..contract.wording import counted
from ..session.purpose import Purpose
from . import output
from .app import App, note


@click.command()
@click.pass_obj
def telemetry(app: App) -> None:
    """All counters of the device (contract R23)."""
    found = app.device(Purpose.LOOK).telemetry()
    app.present(found, lambda: output.print_pairs("telemetry", found))


SHORT = {"layer": "L", "head": "H", "tier": "T", "priority": "P", "class": "cls", "order": "ord"}
"""Columns of `dump` in a terminal that is too narrow for their names."""


@click.command()
@click.pass_obj
def dump(app: App) -> None:
    """All valid directory entries, read back from the device.

    R and F are recency and frequency, of which the priority P is made (contract R14); step is that of the last access, or the one
    that PREFETCH has announced. Columns refs, class and order are there where a block has one. A narrow terminal has L, H and T
    for layer, head and tier.
    """
    entries = app.device(Purpose.LOOK).dump()

    def people() -> None:
        header = [
            "block", "request", "layer", "head", "tokens", "tier", "va", "priority", "step", "refs", "R", "F", "class", "order",
            "flags",
        ]  # fmt: skip
        rows = [
            (
                e["index"], f"{e['request_id']:#06x}", e["layer"], e["head"], f"{e['token_start']}:{e['token_end']}",
                output.tier(e["tier"]), f"{e['va']:#x}", e["priority"], e["access_step"], e["ref_count"],
                e["R"], e["F"], e["class"], e["order"],
                " ".join(flag for flag in ("prefix", "dirty", "pinned", "inflight", "armed") if e[flag]),
            )
            for e in entries
        ]  # fmt: skip
        right = ("block", "layer", "head", "priority", "step", "refs", "R", "F", "class", "order")
        idle = [header.index(name) for name in ("refs", "class", "order") if not any(row[header.index(name)] for row in rows)]
        names, *cells = [[cell for place, cell in enumerate(row) if place not in idle] for row in (header, *rows)]
        output.print_table(counted(len(entries), "block"), names, cells, right, SHORT)

    app.present({"entries": entries}, people)


@click.command()
@click.pass_obj
def info(app: App) -> None:
    """What answers: target, size, build, session."""
    from ..lockstep.lockstep import Lockstep

    device = app.device(Purpose.LOOK)
    identity = device.device.identity if isinstance(device, Lockstep) else None
    found: dict[str, Any] = {
        "command": "info",
        "code": "OK",
        "target": app.target.text,
        "entries": device.entries,
        "lanes": identity.lanes if identity else app.opened.target.parameters.lanes,
        "block_bytes": device.block_bytes,
        "classes": device.model.classes,
        "nmce": device.model.nmce,
    }
    if identity:
        found |= {
            "block_tokens": identity.block_tokens,
            "head_dim": identity.head_dim,
            "data_bits": identity.data_bits,
            "lookup_ports": identity.lookup_ports,
            "fifo_depth": identity.fifo_depth,
            "version": identity.version,
            "build_id": identity.build_id,
        }
    found |= {"session": str(app.opened.folder), "commands": app.opened.commands_before + device.commands}
    found["config"] = {"file": app.options.file and str(app.options.file), "used": _plain(app.options.of_file())}
    shown = {name: value for name, value in found.items() if name not in ("command", "code", "config")}
    if "build_id" in shown:
        shown["build_id"] = f"{shown['build_id']:#018x}"
    shown |= {"configuration file": app.options.file or "none"}
    shown |= {f"{name} (from there)": value for name, value in found["config"]["used"].items()}
    app.present(found, lambda: output.print_pairs("device", shown))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON has them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


@click.command()
@click.pass_obj
def verify(app: App) -> None:
    """Read the whole device back and compare it with the reference: entries, settings, counters, bytes of blocks."""
    device = app.device(Purpose.VERIFY)
    with app.progress("verifying") as update:
        found = device.verify(update)
    has_hardware = app.target.kind != "model"
    if not has_hardware:
        note("nothing to compare: --target model has no hardware")
    elif not app.json:
        size = counted(found.blocks * found.block_bytes, "byte")
        output.say(f"{found.entries:,} entries and {counted(found.blocks, 'block')} ({size}) agree with the reference")
    if app.json:
        output.print_json(
            {
                "command": "verify", "code": "OK", "matched": device.telemetry()["valid_entries"],
                "checked": has_hardware, "entries": found.entries, "blocks": found.blocks,
                "bytes": found.blocks * found.block_bytes, "differences": 0,
            }
        )  # fmt: skip


@click.command()
@click.pass_obj
def sync(app: App) -> None:
    """Take the device's state as the reference's. For a device that something else has driven, or after --no-check."""
    with app.progress("reading back") as update:
        count = app.device(Purpose.SYNC).sync(update)
    app.show("sync", Result("OK", matched=count))
    if not app.json:
        output.say(f"the reference now holds the device's {counted(count, 'block')}, settings and counters")
