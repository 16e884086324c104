"""`kvfpga load FILE`: blocks to load, from YAML, JSON lines or CSV (contract section 8).

One block a row, with the names of the options of `kvfpga load`:

    request,layer,head,tokens,va,tier,data
    0xA001,12,0,32:63,0x7f005000,1,block.npy

`tier` (default 1), `data` (default none; a path beside the file), `class` and `order` (for the ranked policy; where one is there
the other is 0) may be left out. Numbers are decimal or 0x, also as
text. A YAML file is a list of mappings; `.json` may hold one list, or one object a line like `.jsonl`.
Every row is looked at before the first one is loaded, so a mistake in the file leaves the device alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import inputs
from .commands import Load, hint_of
from .errors import UsageError
from .numbers import number, token_range
from .parameters import LIMITS
from .wording import short

REQUIRED = ("request", "layer", "head", "tokens", "va")
OPTIONAL = ("tier", "data", "class", "order")
BITS = {"request": 16, "layer": 8, "head": 8, "va": 64, "tier": 2, "class": 8, "order": 8}
MOST_ROWS = LIMITS["entries"][1]
HELP = "names: " + ", ".join(REQUIRED) + "; optional: " + ", ".join(OPTIONAL)


@dataclass(frozen=True)
class Row:
    """`number`: the row or line of the file, from 1. `data`: a file with the bytes for the block (`read_data`), or None."""

    number: int
    load: Load
    data: Path | None


def read_blocks(path: Path, block_bytes: int) -> list[Row]:
    """The rows of `path`, complete and checked."""
    readers = {".yaml": _yaml, ".yml": _yaml, ".json": _json, ".jsonl": _json, ".ndjson": _json, ".csv": _csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path.name}: not a kind of file that load reads", "name it .yaml, .json, .jsonl or .csv")
    rows: list[Row] = []
    for line, found in reader(path, inputs.read_text(path)):
        if len(rows) == MOST_ROWS:
            raise UsageError(f"{path.name} has more than {MOST_ROWS:,} rows, and no device so many entries", "split it")
        rows.append(_row(path, line, found, block_bytes))
    return rows


def read_data(path: Path, block_bytes: int) -> bytes:
    """The bytes of a .npy file that must fill one block exactly."""
    return inputs.block_bytes(inputs.read_array(path, inputs.LARGEST_MEMORY), str(path), block_bytes)


def _row(path: Path, line: int, found: object, block_bytes: int) -> Row:
    def bad(what: str) -> UsageError:
        return UsageError(f"{path.name}, row {line}: {what}", HELP)

    if not isinstance(found, dict):
        raise bad("not a mapping of names to values")
    row = {str(name).strip(): _text(value) for name, value in found.items() if value not in (None, "")}
    if unknown := set(row) - {*REQUIRED, *OPTIONAL}:
        raise bad(f"unknown name {short(', '.join(sorted(unknown)))}")
    if missing := [name for name in REQUIRED if name not in row]:
        raise bad(f"{', '.join(missing)} missing")
    try:
        values = {name: number(row[name]) for name in BITS if name in row}
        start, end = token_range(row["tokens"])
    except ValueError as error:
        raise bad(str(error)) from None
    for name, value in values.items():
        if value >> BITS[name]:
            raise bad(f"{name} {value} does not fit into {BITS[name]} bits: 0 to {(1 << BITS[name]) - 1:,}")
    data = path.parent / row["data"] if "data" in row else None
    if data:
        read_data(data, block_bytes)  # and forgotten: the blocks of all rows together may not fit into memory
    hint = hint_of(values.pop("class", None), values.pop("order", None))
    return Row(line, Load(token_start=start, token_end=end, hint=hint, **values), data)


def _text(value: object) -> str:
    return str(value).strip()


def _yaml(path: Path, text: str) -> Iterator[tuple[int, object]]:
    from . import strict_yaml

    try:
        found = strict_yaml.texts(text)  # YAML would read 32:40 as a number to base 60
    except ValueError as error:
        raise UsageError(f"{path.name} is not YAML that load reads: {error}", HELP) from None
    if not isinstance(found, list):
        raise UsageError(f"{path.name} is not a list of blocks", "write one `- request: …` for each block")
    return enumerate(found, start=1)


def _json(path: Path, text: str) -> Iterator[tuple[int, object]]:
    if text.lstrip().startswith("["):
        yield from enumerate(_strict_json(path.name, text), start=1)
        return
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield line, _strict_json(f"{path.name}, line {line}", content)


def _strict_json(where: str, text: str) -> Any:
    try:
        return inputs.strict_json(text)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}", "one object a line, or one list of objects") from None


def _csv(path: Path, text: str) -> Iterator[tuple[int, object]]:
    import csv
    import io

    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        names = [name.strip() for name in rows.fieldnames or []]
        if len(set(names)) < len(names):
            raise UsageError(f"{path.name}: the header has {short(repr(inputs.twice(names)))} twice", HELP)
        for found in rows:
            if None in found:
                raise UsageError(f"{path.name}, row {rows.line_num}: more values than the header has names", HELP)
            yield rows.line_num, found
    except csv.Error as error:
        raise UsageError(f"{path.name}, row {rows.line_num + 1} is not CSV: {error}", HELP) from None
