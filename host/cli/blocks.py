"""Commands about blocks: load, unload, lookup, and the hints step, hot, evict, prefetch, share, release, class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contract import commands as cmd
from ..contract.commands import Result
from ..contract.wording import counted
from . import output
from .app import App, warn
from .values import BYTE, EXISTING, NUMBER, POSITION, REQUEST, TIER, TokenRange

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..lockstep.surface import Surface

    Range = type[cmd.Hot | cmd.Evict | cmd.Share | cmd.Release]

CHUNK = 256
"""Rows of a file that are loaded in one batch."""


def hint_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `load`, `lookup --touch` and `score` may say of a block for the ranked policy; `hint_of` makes it a number (R41)."""
    for option in (
        click.option("--hint", type=NUMBER, help="TOUCH_HINT as one number, instead of --class and --order."),
        click.option("--order", type=BYTE, help="Of blocks that rank alike the one with the highest order stays, 0-255."),
        click.option("--class", "class_id", type=BYTE, help="Class of the block in the table of the ranked policy, 0-255."),
    ):
        command = option(command)
    return command


def hint_of(class_id: int | None, order: int | None, hint: int | None) -> int:
    if hint is None:
        return cmd.hint_of(class_id, order)
    if class_id is not None or order is not None:
        raise click.UsageError("Give --hint, or --class and --order, not both.")
    return hint


@click.command()
@click.argument("file", required=False, type=EXISTING)
@click.option("--request", type=REQUEST, help="Request id, 16 bits; 0 is the shared prefix.")
@click.option("--layer", type=BYTE, help="0-255")
@click.option("--head", type=BYTE, help="0-255")
@click.option("--tokens", type=TokenRange(), help="Token positions, END inclusive.")
@click.option("--va", type=NUMBER, help="Host virtual address of the block, in bytes.")
@click.option("--tier", type=TIER, metavar="0-3", help="Where the block is; default 1.")
@click.option("--data", type=EXISTING, metavar="FILE.npy", help="Bytes of the block, written to where it lands.")
@hint_options
@click.pass_obj
def load(app: App, /, file: str | None, data: str | None, **options: Any) -> None:
    """Load one block into the directory, or every block of FILE (YAML, JSON lines or CSV with the same names).

    \b
    kvfpga load --request 0xA001 --layer 12 --head 0 --tokens 0:31 --va 0x7f001000
    kvfpga load blocks.csv  # its first line: request,layer,head,tokens,va

    With --json a file gives one object: {"command": "load", "code": the first refusal or "OK", "matched": blocks
    loaded, "index": null, "cycles", "triggers", "checked", "loaded": [{"row", "code", "index"}…]}.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if file:
        if given or data:
            raise click.UsageError("Give FILE or the options of one block, not both.")
        _load_file(app, Path(file))
        return
    required = ("request", "layer", "head", "tokens", "va")
    if missing := [f"--{name}" for name in required if name not in given]:
        raise click.UsageError(f"Missing option {', '.join(missing)} (or a FILE of blocks).")
    from ..contract.block_files import read_data

    device = app.device()
    content = read_data(Path(data), device.block_bytes) if data else None
    if data:
        device.require_memory()
    start, end = given.pop("tokens")
    hint = hint_of(*(given.pop(name, None) for name in ("class_id", "order", "hint")))
    result = device.execute(cmd.Load(token_start=start, token_end=end, hint=hint, **given))
    _write_content(device, result, content)
    app.show("load", result)


def _load_file(app: App, file: Path) -> None:
    from ..contract.block_files import read_blocks, read_data

    device = app.device()
    rows = read_blocks(file, device.block_bytes)
    if any(row.data for row in rows):
        device.require_memory()
    loaded: list[dict[str, Any]] = []
    cycles, code = 0, "OK"
    with app.progress("loading") as update:
        for first in range(0, len(rows), CHUNK):
            chunk = rows[first : first + CHUNK]
            results = device.execute_many([row.load for row in chunk])
            for row, result in zip(chunk, results):
                _write_content(device, result, read_data(row.data, device.block_bytes) if row.data else None)
                loaded.append({"row": row.number, "code": result.code, "index": result.index})
                cycles += result.cycles
                if result.code != "OK":
                    code = result.code if code == "OK" else code
                    warn(f"{file.name}, row {row.number}: refused, {result.code}: {result.why or cmd.MEANING[result.code]}")
            update(first + len(chunk), len(rows))
    count = sum(row["code"] == "OK" for row in loaded)
    if not app.json:
        output.say(f"{count} of {counted(len(rows), 'block')} of {file.name} loaded")
    app.show("load", Result(code, matched=count, cycles=cycles), loaded=loaded)


def _write_content(device: Surface, result: Result, content: bytes | None) -> None:
    """The bytes of a block that was just loaded go to where it landed, which is not always the tier asked for."""
    if content is not None and result.index is not None and result.code == "OK":
        device.memory_write(device.entry(result.index)["phys_addr"], content)


@click.command()
@click.argument("n", type=NUMBER)
@click.pass_obj
def step(app: App, n: int) -> None:
    """Advance the decode step to N: all blocks age, cold ones leave T1, armed ones come back."""
    app.execute(cmd.Step(n))


def _range_command(kind: Range, text: str) -> click.Command:
    @click.command(kind.name, help=text)
    @click.argument("va", type=NUMBER)
    @click.argument("length", metavar="LEN", type=NUMBER)
    @click.pass_obj
    def command(app: App, va: int, length: int) -> None:
        app.execute(kind(va, length))

    return command


hot = _range_command(cmd.Hot, "Pin the blocks that overlap LEN bytes at VA: they are wanted now.")
evict = _range_command(cmd.Evict, "Send the blocks that overlap LEN bytes at VA out of T1.")
share = _range_command(
    cmd.Share, "One more user of the blocks that overlap LEN bytes at VA: they become shared prefix."
)
release = _range_command(cmd.Release, "One user less of the blocks that overlap LEN bytes at VA.")


@click.command()
@click.argument("va", type=NUMBER)
@click.argument("length", metavar="LEN", type=NUMBER)
@click.argument("target", metavar="STEP", type=NUMBER)
@click.pass_obj
def prefetch(app: App, va: int, length: int, target: int) -> None:
    """The blocks that overlap LEN bytes at VA will be wanted at decode step STEP."""
    app.execute(cmd.Prefetch(va, length, target))


@click.command()
@click.argument("va", required=False, type=NUMBER)
@click.argument("length", metavar="[LEN]", required=False, type=NUMBER)
@click.option("--request", type=NUMBER, help="All blocks of this request instead of a range.")
@click.pass_obj
def unload(app: App, va: int | None, length: int | None, request: int | None) -> None:
    """Take blocks out of the directory: those that overlap LEN bytes at VA, or all of one request."""
    if request is not None:
        if va is not None:
            raise click.UsageError("Give VA LEN or --request, not both.")
        app.execute(cmd.UnloadRequest(request))
    elif va is None or length is None:
        raise click.UsageError("Give VA and LEN, or --request.")
    else:
        app.execute(cmd.Unload(va, length))


@click.command()
@click.argument("request", metavar="R", type=REQUEST)
@click.argument("layer", metavar="L", type=BYTE)
@click.argument("head", metavar="H", type=BYTE)
@click.argument("position", metavar="POS", type=POSITION)
@click.option("--touch", is_flag=True, help="Count it as an access: the block ages anew, and comes back from T2 or T3.")
@hint_options
@click.pass_obj
def lookup(
    app: App, request: int, layer: int, head: int, position: int, touch: bool, class_id: int | None, order: int | None,
    hint: int | None,
) -> None:  # fmt: skip
    """Find the block of request R, layer L, head H that holds token POS; the shared prefix is tried as well.

    A touch with --class or --order changes both: the one that is not given becomes 0. Without them both stay.
    """
    key = request, layer, head, position
    if touch:
        app.execute(cmd.Touch(*key, hint_of(class_id, order, hint)))
    elif (class_id, order, hint) == (None, None, None):
        app.execute(cmd.Lookup(*key))
    else:
        raise click.UsageError("--class, --order and --hint are for an access: add --touch.")


@click.command("class")
@click.argument("va", type=NUMBER)
@click.argument("length", metavar="LEN", type=NUMBER)
@click.option("--class", "class_id", type=NUMBER, required=True, help="Class in the table of the ranked policy, 0-255.")
@click.option("--base", type=NUMBER, default=0, show_default=True, help="255 - BASE is the order of the first block, 0-255.")
@click.option("--shift", type=NUMBER, default=0, show_default=True, help="The order falls by one every 2^SHIFT blocks, 0-15.")
@click.pass_obj
def class_(app: App, va: int, length: int, class_id: int, base: int, shift: int) -> None:
    """Give the blocks that overlap LEN bytes at VA a class, and orders that fall from the first block on.

    So the end of a prompt leaves T1 before its beginning, where the ranked policy (`policy ranked`) has blocks of one rank.
    """
    app.execute(cmd.Class(va, length, class_id, base, shift))
