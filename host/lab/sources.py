"""What may stand for TRACE on the command line of the lab: a file, `sample`, `generated:NAME` or `generated:NAME:SEED`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..contract.errors import UsageError
from . import digests
from .names import GENERATED, SAMPLE_NAME
from .stream import Stream, of
from .traces import SAMPLE, Trace, check_readable, load_trace

GENERATED_REQUESTS = 10_000
"""Where no limit is given: generated traffic has no end."""


class Source(NamedTuple):
    """A trace as arrays. `digest` of its contents; `title`: what its format is; `path`: None where it is no file."""

    stream: Stream
    digest: str
    title: str
    path: Path | None = None

    @property
    def generated(self) -> bool:
        """Is it made by a program rather than recorded? So is the sample."""
        return self.path in (None, SAMPLE)


def trace(text: str, limit: int | None = None, time_unit: str | None = None) -> Trace:
    """The trace of that name, the first `limit` requests of it. UsageError where there is none."""
    if text.startswith(GENERATED):
        return _generated(text.removeprefix(GENERATED), limit)
    if text == SAMPLE_NAME:
        return replace(load_trace(SAMPLE, limit, time_unit), name=SAMPLE_NAME)
    return load_trace(text, limit, time_unit)


def opened(text: str, limit: int | None = None, time_unit: str | None = None) -> Source:
    """The same for the lab, as arrays. UsageError also where no lab can use it."""
    found = trace(text, limit, time_unit)
    stream = of(found)
    if text.startswith(GENERATED):
        return Source(stream, digests.of_stream(stream), "generated")
    return Source(stream, digests.of_stream(stream), str(found), SAMPLE if text == SAMPLE_NAME else Path(text))


def all_opened(texts: tuple[str, ...], limit: int | None = None, time_unit: str | None = None) -> list[Source]:
    """The same for several, whose names must differ: cells are kept by them. Files that are not there are refused first."""
    for text in texts:
        if not text.startswith(GENERATED) and text != SAMPLE_NAME:
            check_readable(Path(text))
    found: dict[str, Source] = {}
    for text in texts:
        source = opened(text, limit, time_unit)
        if source.stream.name in found:
            raise UsageError(f"two traces have the name {source.stream.name}", "run each with an --out of its own, or rename one")
        found[source.stream.name] = source
    return list(found.values())


def _generated(text: str, requests: int | None) -> Trace:
    from . import generated

    name, _, seed = text.partition(":")
    try:
        number = int(seed or "1")
        if number < 0:
            raise ValueError
    except ValueError:
        raise UsageError(f"a seed of {seed}", "write generated:NAME:SEED, such as generated:chats:2") from None
    known = [long.removeprefix("generated-") for long in generated.NAMES]
    if name not in known:
        raise UsageError(f"there is no generated traffic {name!r}", f"write generated: and one of {', '.join(known)}")
    made = generated.trace(f"generated-{name}", GENERATED_REQUESTS if requests is None else requests, number)
    return made if number == 1 else replace(made, name=f"{made.name}-{number}")
