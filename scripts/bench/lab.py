"""The compiled device of the policy lab beside libcachesim: touches a second at one capacity, all in this process.

libcachesim runs each policy in its own loop over its own binary format, which is the fastest that it has and counts hits only.
The device runs from a trace's arrays to a hit or miss for every touch; hints are ready, as they are for every capacity but the
first.

The trace is the one of the section `replay`, or, where that is not at hand, the sample that comes along, many times in a row.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kvfpga.lab.stream import Stream
from kvfpga.lab.stream import of as stream_of
from kvfpga.lab.traces import SAMPLE, load_trace

from .figures import Report, Say, Series, alone, alternate, beside
from .replay import TRACE, trace_folder
from .sizes import Sizes

SECTION = "lab"
CAPACITY = 4096
PEERS = ("LRU", "LFU", "ARC", "MQ", "S3FIFO", "WTinyLFU", "LIRS", "Cacheus")
BESIDE = ("LRU", "S3FIFO", "WTinyLFU")
"""The peers that every way of the device is shown beside."""
AIM = 1e6
"""Touches a second on one core."""
RECORD = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
"""A touch in libCacheSim's format oracleGeneral."""
SAMPLES_IN_A_ROW = 200


def measure(sizes: Sizes, say: Say) -> Report:
    from kvfpga.lab import compiled, hinting

    stream, note = _stream(sizes)
    say(f"{stream.touches:,} touches; what the ranked policy is told")
    learnt, by_age = hinting.learnt(stream), hinting.by_age(stream)
    names = {
        "ranked": "compiled device, ranked",
        "ranked-age": "compiled device, ranked-age",
        "linear": "compiled device, linear:balanced",
        **{peer: f"libcachesim {peer}" for peer in PEERS},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "touches.oracleGeneral"
        _write(stream, path)
        ways: dict[str, Callable[[], float]] = {
            "ranked": _rate(stream, lambda: compiled.run_ranked(stream, learnt, CAPACITY)),
            "ranked-age": _rate(stream, lambda: compiled.run_ranked(stream, by_age, CAPACITY)),
            "linear": _rate(stream, lambda: compiled.run_linear(stream, "balanced", CAPACITY)),
            **{peer: _rate(stream, _peer(peer, path)) for peer in PEERS},
        }
        say("compiling")
        for name in ("ranked", "linear"):
            ways[name]()
        found = {name: Series(names[name], rates) for name, rates in alternate(sizes.lab_rounds, ways, say).items()}
    aim = Series(f"{AIM:,.0f} touches/s", [AIM] * sizes.lab_rounds)
    figures = [alone(SECTION, found[peer], "touches/s") for peer in PEERS]
    for way in ("ranked", "ranked-age", "linear"):
        figures.append(beside(SECTION, found[way], "touches/s", aim, 1))
        figures += [beside(SECTION, found[way], "touches/s", found[peer]) for peer in BESIDE]
    return Report(figures, [], [note])


def _stream(sizes: Sizes) -> tuple[Stream, str]:
    path = trace_folder() / TRACE
    limit = sizes.requests if sizes.quick else None
    if path.is_file():
        stream = stream_of(load_trace(path, limit))
        return stream, f"lab: {TRACE}, {stream.touches:,} touches, a tier 1 of {CAPACITY:,} blocks"
    stream = _repeated(stream_of(load_trace(SAMPLE, limit)), 1 if sizes.quick else SAMPLES_IN_A_ROW)
    return stream, f"lab: {TRACE} is not in {path.parent} (KVFPGA_TRACES), so the sample {stream.name}, many times in a row"


def _repeated(stream: Stream, times: int) -> Stream:
    """Each time with blocks of its own."""
    pause = stream.times[-1] + 1000.0
    again = np.arange(times)
    return stream._replace(
        times=np.concatenate([stream.times + pause * n for n in again]),
        input_lengths=np.tile(stream.input_lengths, times),
        output_lengths=np.tile(stream.output_lengths, times),
        offsets=np.concatenate([[0], *(stream.offsets[1:] + stream.touches * n for n in again)]),
        blocks=np.concatenate([stream.blocks + len(stream.ids) * n for n in again]).astype(np.int32),
        ids=np.concatenate([stream.ids + (stream.ids[-1] + 1) * n for n in again]),
    )


def _write(stream: Stream, path: Path) -> None:
    records = np.zeros(stream.touches, RECORD)
    records["id"], records["size"], records["next"] = stream.blocks + 1, 1, -1
    records.tofile(path)


def _peer(name: str, path: Path) -> Callable[[], Any]:
    import libcachesim

    def run() -> Any:
        reader = libcachesim.TraceReader(str(path), libcachesim.TraceType.ORACLE_GENERAL_TRACE)
        # Its hash table has 2^24 places unless told otherwise, and to touch them is what takes time.
        return getattr(libcachesim, name)(CAPACITY, hashpower=16).process_trace(reader)

    return run


def _rate(stream: Stream, run: Callable[[], Any]) -> Callable[[], float]:
    """Touches a second of processor time."""

    def measured() -> float:
        started = time.process_time()
        run()
        return stream.touches / (time.process_time() - started)

    return measured
