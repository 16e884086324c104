"""Commands below the directory: reg and mem."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contract import files, inputs
from ..contract.errors import UsageError
from ..contract.wording import counted, short
from ..session.purpose import Purpose
from . import output
from .app import App
from .later import Group
from .values import EXISTING, NUMBER, REGISTER, Number

if TYPE_CHECKING:
    from ..device.registers import Place

@click.group(cls=Group)
def reg() -> None:
    """Registers by NAME, or by ADDR in bytes (a 32-bit word, or the whole register that begins there).

    A write that is a command or a setting runs as that command, so that the reference follows.
    """


@reg.command("read")
@click.argument("place", metavar="NAME|ADDR", type=REGISTER)
@click.pass_obj
def read_register(app: App, place: str) -> None:
    """Read one register."""
    from ..device import registers

    where = registers.find(place)
    only_looks = app.target.is_board and not registers.is_score(where.address)  # reading those is counted
    value = registers.read(app.device(Purpose.LOOK if only_looks else Purpose.RUN), where)
    found = {"command": "reg", "code": "OK"} | _described(where, value)
    if where.register:
        found["fields"] = registers.fields(where.register, value)

    def people() -> None:
        output.echo(f"{found['name'] or 'word'} at {where.address:#x}: {value:#x} ({value})")
        for name, part in found.get("fields", {}).items():
            output.echo(f"  {name}: {part}")

    app.present(found, people)


@reg.command("write")
@click.argument("place", metavar="NAME|ADDR", type=REGISTER)
@click.argument("value", type=NUMBER)
@click.pass_obj
def write_register(app: App, place: str, value: int) -> None:
    """Write one register."""
    from ..device import registers

    where = registers.find(place)
    result = registers.write(app.device(), where, value)
    if result:
        app.show("reg", result, **_described(where, value))
    else:
        name = where.register.name if where.register else f"word at {where.address:#x}"
        found = {"command": "reg", "code": "OK"} | _described(where, value)
        app.present(found, lambda: output.echo(f"{name} written: {value:#x}"))


@reg.command("list")
@click.pass_obj
def list_registers(app: App) -> None:
    """All registers (no device is asked)."""
    from ..device.regmap import REGISTERS

    rows = [
        (r.name, f"{r.offset:#06x}", r.width, r.access, r.doorbell or r.config or r.telemetry or "", r.title)
        for r in REGISTERS.values()
    ]
    found = [{"name": r.name, "address": r.offset, "width": r.width, "access": r.access} for r in REGISTERS.values()]
    header = ["name", "address", "bits", "access", "command, setting\nor counter", "what"]
    app.present(
        {"command": "reg", "code": "OK", "registers": found},
        lambda: output.print_table(f"{len(rows)} registers", header, rows, ("bits",)),
    )


def _described(where: Place, value: int) -> dict[str, Any]:
    return {"name": where.register and where.register.name, "address": where.address, "value": value}


@click.group(cls=Group)
def mem() -> None:
    """Bytes of the memory behind the device: tier k is at register TIER_BASEk."""


@mem.command("read")
@click.argument("address", type=NUMBER)
@click.argument("size", type=Number(64))
@click.option("--out", type=click.Path(dir_okay=False), help="Write the bytes to this file instead of showing them.")
@click.pass_obj
def read_memory(app: App, address: int, size: int, out: str | None) -> None:
    """Read SIZE bytes at ADDRESS."""
    if size > inputs.LARGEST_MEMORY:
        raise UsageError(f"SIZE is {size:,} bytes; one read gives 0 to {inputs.LARGEST_MEMORY:,}", "read it in pieces")
    _inside(address, size)
    data = app.device(Purpose.LOOK).memory_read(address, size)
    found = {"command": "mem", "code": "OK", "address": address, "size": size}
    if out:
        _write_file(Path(out), data)
        app.present(found | {"file": out}, lambda: output.echo(f"{counted(size, 'byte')} at {address:#x} written to {out}"))
    else:
        app.present(found | {"data": data.hex()}, lambda: _hex_dump(address, data))


@mem.command("write")
@click.argument("address", type=NUMBER)
@click.argument("hex_bytes", metavar="[HEX]", required=False)
@click.option("--data", type=EXISTING, help="A file with the bytes: .npy (little endian in memory), or taken as it is.")
@click.pass_obj
def write_memory(app: App, address: int, hex_bytes: str | None, data: str | None) -> None:
    """Write bytes at ADDRESS: HEX digits, two for a byte, or the contents of a file."""
    if (hex_bytes is None) == (data is None):
        raise click.UsageError("Give HEX or --data FILE.")
    content = _from_hex(hex_bytes or "") if data is None else _read_file(Path(data))
    _inside(address, len(content))
    app.device().memory_write(address, content)
    found = {"command": "mem", "code": "OK", "address": address, "size": len(content)}
    app.present(found, lambda: output.echo(f"{counted(len(content), 'byte')} written at {address:#x}"))


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise click.UsageError(f"HEX is {short(repr(text))}; it has two digits 0-9, a-f for each byte, such as 01ff.") from None


def _read_file(path: Path) -> bytes:
    if path.suffix != ".npy":
        return inputs.read_bytes(path, inputs.LARGEST_MEMORY)
    return inputs.array_bytes(inputs.read_array(path, inputs.LARGEST_MEMORY), str(path))


def _write_file(path: Path, data: bytes) -> None:
    try:
        with open(path, "wb", opener=files.without_waiting) as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {files.why(error)}", "name a file that can be written") from error


def _inside(address: int, size: int) -> None:
    if address + size > 1 << 64:
        end = f"{size:,} bytes at {address:#x} end at {address + size:#x}; addresses end at 2^64"
        raise UsageError(end, "give a lower address or fewer bytes")


def _hex_dump(address: int, data: bytes) -> None:
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        output.echo(f"{address + offset:016x}  {row.hex(' '):47}  {text}")
