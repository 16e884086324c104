"""JSON that says itself whether it is what was written, and what a failure folder says of its files.

A failure folder holds the session `sim/`, which has sums of its own, and files that are written once. `checksums.json` has their
sizes and CRCs: a folder that lay about for months, or went through the mail, shows what it showed or is refused.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from ..contract.errors import SessionError
from ..contract.files import advice, is_of_the_system
from .pages import content

CHECKSUMS = "checksums.json"
SEAL = '{"crc": "'


def sealed(found: dict[str, Any]) -> str:
    """The object as one line, with the CRC of the rest of it as its first member."""
    text = json.dumps(found)
    return f'{SEAL}{zlib.crc32(text.encode()):08x}", {text[1:]}\n'


def unsealed(text: str) -> dict[str, Any]:
    """ValueError where it is not as `sealed` made it."""
    at = len(SEAL) + 8
    found = "{" + text[at + 3 :].removesuffix("\n")
    if text != f'{SEAL}{zlib.crc32(found.encode()):08x}", {found[1:]}\n':
        raise ValueError("it is not what was stored there")
    result: dict[str, Any] = json.loads(found)
    return result


def seal_folder(folder: Path) -> None:
    """Write down what the files in it are now."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and path.name != CHECKSUMS)
    (folder / CHECKSUMS).write_text(sealed({path.name: _sum(path) for path in files}))


def check_folder(folder: Path) -> None:
    """SessionError where a file is not what it was when the folder was sealed, if it ever was."""
    try:
        sums = unsealed(content(folder / CHECKSUMS).decode())
        wrong = [name for name, told in sums.items() if not _is(folder / name, told)]
    except FileNotFoundError as error:
        if error.filename == str(folder / CHECKSUMS):
            return
        wrong = [str(error.filename)]
    except (OSError, ValueError) as error:
        if is_of_the_system(error):
            raise SessionError(f"the failure folder {folder} cannot be read: {error.strerror}", advice(error)) from error
        wrong = [f"{CHECKSUMS} ({error})"]
    if wrong:
        raise SessionError(
            f"the failure folder {folder} is damaged, or was changed: {', '.join(wrong)}",
            f"have the difference again; or remove {folder / CHECKSUMS} to go on with what is there",
        )


def _sum(path: Path) -> list[int]:
    data = content(path, path.stat().st_size)
    return [len(data), zlib.crc32(data)]


def _is(path: Path, told: list[int]) -> bool:
    """Its size is looked at before memory is taken."""
    return path.stat().st_size == told[0] and _sum(path) == told
