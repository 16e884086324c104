"""What the result of a cell depends on, as SHA-256: the trace's arrays, options, versions, and the source that computes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..contract.version import __version__
from .policies.contender import Contender, Options
from .stream import Stream

PACKAGE = Path(__file__).parent.parent
ALWAYS = ("lab/stream.py", "lab/measure.py", "lab/policies/contender.py", "lab/policies/contenders.py")
"""Source that every cell depends on."""


def of_stream(stream: Stream) -> str:
    """Of the requests and blocks, not of the file that they stood in, nor its name."""
    digest = hashlib.sha256(str(stream.block_tokens).encode())
    for name, kind in (("times", "<f8"), ("input_lengths", "<i8"), ("output_lengths", "<i8"), ("offsets", "<i8"),
                       ("blocks", "<i4"), ("ids", "<i8")):  # fmt: skip
        digest.update(np.ascontiguousarray(getattr(stream, name), dtype=kind).data)
    return digest.hexdigest()


def of_cell(stream: str, contender: Contender, capacity: int, options: Options) -> str:
    """`stream`: its digest."""
    told = {
        "stream": stream, "policy": contender.name, "capacity": capacity, "options": dependent(contender, options),
        "versions": versions(contender), "code": of_code(*ALWAYS, *contender.code),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def dependent(contender: Contender, options: Options) -> dict[str, float | int | None]:
    """The options that the policy's result depends on."""
    return {name: value for name, value in options._asdict().items() if name in contender.depends}


def versions(contender: Contender) -> dict[str, str]:
    return {"kvfpga": __version__, **{name: version(name) for name in contender.libraries}}


@cache
def of_code(*places: str) -> str:
    """Of the modules at these places of the package, files or folders."""
    digest = hashlib.sha256()
    for path in sorted({path for place in places for path in _modules(PACKAGE / place)}):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _modules(place: Path) -> Iterable[Path]:
    return place.rglob("*.py") if place.is_dir() else [place]
