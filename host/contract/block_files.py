"""`kvfpga load FILE`: blocks to load, from YAML, JSON lines or CSV (contract section 8).

One block a row, with the names of the options of `kvfpga load`:

    request,layer,head,tokens,va,tier,data
    0xA001,12,0,32:63,0x7f005000,1,block.npy

`tier` (default 1) and `data` (default none; a path beside the file) may be left out. Numbers are decimal or 0x, also as
text. A YAML file is a list of mappings; `.json` may hold one list, or one object a line like `.jsonl`.
Every row is looked at before the first one is loaded, so a mistake in the file leaves the device alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .commands import Load
from .errors import UsageError
from .numbers import number, token_range
from .wording import counted

REQUIRED = ("request", "layer", "head", "tokens", "va")
OPTIONAL = ("tier", "data")
BITS = {"request": 16, "layer": 8, "head": 8, "va": 64, "tier": 2}
HELP = "names: " + ", ".join(REQUIRED) + "; optional: " + ", ".join(OPTIONAL)


@dataclass(frozen=True)
class Row:
    """`number`: the row or line of the file, from 1. `data`: the bytes for the block, or None."""

    number: int
    load: Load
    data: bytes | None


def read_blocks(path: Path, block_bytes: int) -> list[Row]:
    """The rows of `path`, complete and checked."""
    readers = {".yaml": _yaml, ".yml": _yaml, ".json": _json, ".jsonl": _json, ".ndjson": _json, ".csv": _csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path.name}: not a kind of file that load reads", "name it .yaml, .json, .jsonl or .csv")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return [_row(path, number, found, block_bytes) for number, found in reader(path, text)]


def read_data(path: Path, block_bytes: int) -> bytes:
    """The bytes of a .npy file that must fill one block exactly; any element type, C order."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}", "save it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path} is not a single array", "save it with numpy.save")
    if array.nbytes != block_bytes:
        raise UsageError(
            f"{path} has {counted(array.nbytes, 'byte')}, a block {block_bytes:,}",
            "for the full device: numpy.float16, shape (2, 32, 128), keys then values",
        )
    return array.tobytes()


def _row(path: Path, line: int, found: object, block_bytes: int) -> Row:
    def bad(what: str) -> UsageError:
        return UsageError(f"{path.name}, row {line}: {what}", HELP)

    if not isinstance(found, dict):
        raise bad("not a mapping of names to values")
    row = {str(name).strip(): _text(value) for name, value in found.items() if value not in (None, "")}
    if unknown := set(row) - {*REQUIRED, *OPTIONAL}:
        raise bad(f"unknown name {', '.join(sorted(unknown))}")
    if missing := [name for name in REQUIRED if name not in row]:
        raise bad(f"{', '.join(missing)} missing")
    try:
        values = {name: number(row[name]) for name in BITS if name in row}
        start, end = token_range(row["tokens"])
    except ValueError as error:
        raise bad(str(error)) from None
    for name, value in values.items():
        if value >> BITS[name]:
            raise bad(f"{name} {value} does not fit into {BITS[name]} bits")
    data = read_data(path.parent / row["data"], block_bytes) if "data" in row else None
    return Row(line, Load(token_start=start, token_end=end, **values), data)


def _text(value: object) -> str:
    return str(value).strip()


def _yaml(path: Path, text: str) -> Iterator[tuple[int, object]]:
    import yaml

    try:
        # BaseLoader leaves every value as text: YAML would read 32:40 as a number to base 60
        found = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"{path.name} is not YAML: {error}") from error
    if not isinstance(found, list):
        raise UsageError(f"{path.name} is not a list of blocks", "write one `- request: …` for each block")
    return enumerate(found, start=1)


def _json(path: Path, text: str) -> Iterator[tuple[int, object]]:
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text), start=1)
        except ValueError as error:
            raise UsageError(f"{path.name} is not JSON: {error}") from error
        return
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            try:
                yield line, json.loads(content)
            except ValueError as error:
                raise UsageError(f"{path.name}, line {line} is not JSON: {error}") from error


def _csv(path: Path, text: str) -> Iterator[tuple[int, object]]:
    import csv

    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    for found in rows:
        if None in found:
            raise UsageError(f"{path.name}, row {rows.line_num}: more values than the header has names", HELP)
        yield rows.line_num, found
