"""What may stand for TRACE on the command line of the lab: a file, `sample`, `generated:NAME` or `generated:NAME:SEED`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..contract.errors import UsageError
from . import digests
from .stream import Stream, of
from .traces import SAMPLE, load_trace

GENERATED = "generated:"
SAMPLE_NAME = "sample"


class Source(NamedTuple):
    """A trace as arrays. `digest` of its contents; `title`: what its format is; `path`: None where it is no file."""

    stream: Stream
    digest: str
    title: str
    path: Path | None = None

    @property
    def generated(self) -> bool:
        """Is it made by a program rather than recorded?"""
        return self.path is None or self.path == SAMPLE


def opened(text: str, limit: int | None = None, time_unit: str | None = None) -> Source:
    """The trace of that name, the first `limit` requests of it. UsageError where there is none, or no lab can use it."""
    if text.startswith(GENERATED):
        stream = _generated(text.removeprefix(GENERATED), limit)
        return Source(stream, digests.of_stream(stream), "generated")
    path = SAMPLE if text == SAMPLE_NAME else Path(text)
    trace = load_trace(path, limit, time_unit)
    stream = of(trace)
    if text == SAMPLE_NAME:
        stream = stream._replace(name=SAMPLE_NAME)
    return Source(stream, digests.of_stream(stream), str(trace), path)


def all_opened(texts: tuple[str, ...], limit: int | None = None, time_unit: str | None = None) -> list[Source]:
    """The same for several, whose names must differ: cells are kept by them."""
    found: dict[str, Source] = {}
    for text in texts:
        source = opened(text, limit, time_unit)
        if source.stream.name in found:
            raise UsageError(f"two traces have the name {source.stream.name}", "run each with an --out of its own, or rename one")
        found[source.stream.name] = source
    return list(found.values())
