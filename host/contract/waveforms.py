"""Waveform files that a simulation can record: kinds, and the file itself."""

from __future__ import annotations

from pathlib import Path

from . import files
from .errors import UsageError

SUFFIXES = (".fst", ".vcd")
"""The better first. Building a model that records .fst needs zlib's headers; .vcd needs nothing."""


def make(path: Path) -> None:
    """A file, to be written by Verilator, which says nothing where there can be none. UsageError then. What it held before is
    there until that begins."""
    try:
        open(path, "ab", opener=files.without_waiting).close()
    except OSError as error:
        raise UsageError(f"cannot write the waveform {path}: {files.why(error)}", "name a file that can be written") from None
