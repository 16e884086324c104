"""Builds kvcpu_nmce of one geometry behind nmce_bench.cpp, and runs jobs on it."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kvfpga.transport.sim import build
from scripts.mutation.mutations import Edit
from tests.helpers import verilated_bench

HARNESS = Path(__file__).with_name("nmce_bench.cpp")
NO_BEAT = 0xFFFFFFFF


class Geometry(NamedTuple):
    data_bits: int = 512
    block_tokens: int = 32
    head_dim: int = 128

    def __str__(self) -> str:
        return f"{self.data_bits} bits, {self.block_tokens} x {self.head_dim}"

    @property
    def beats(self) -> int:
        """Of a block's keys."""
        return self.block_tokens * self.head_dim * 16 // self.data_bits


class Job(NamedTuple):
    block: int
    rows: int
    slot: int = 0
    numerators: bool = False
    bad_beat: int = NO_BEAT


class Done(NamedTuple):
    """`window`: the 1,024 words of SCORES while the job's buffer was shown; None where there was an error, or nobody read."""

    error: bool
    accepted: int
    done: int
    window: np.ndarray | None


class Run(NamedTuple):
    jobs: list[Done]
    cycles: int
    beats: int


def program(geometry: Geometry, mutation: Edit | None = None) -> Path:
    """The built bench; kept in the cache."""
    rtl = {path.name: path.read_text() for path in build.rtl_sources() if path.parent.name in ("nmce", "lib", "gen")}
    rtl = {name: text for name, text in rtl.items() if not name.startswith("kvcpu_reg") and name != "kvcpu_map_pkg.sv"}
    if mutation:
        rtl[mutation.file] = mutation.applied(rtl[mutation.file])
    values = {
        "DATA_BITS": geometry.data_bits, "BLOCK_TOKENS": geometry.block_tokens, "HEAD_DIM": geometry.head_dim,
    }  # fmt: skip
    defines = [f"-D{key}={value}" for key, value in values.items()]
    block = {"BLOCK_BYTES": 4 * geometry.block_tokens * geometry.head_dim}
    return verilated_bench.program("kvcpu_nmce", rtl, HARNESS, ["--assert"], ["-O0", *defines], values | block)


def run(
    geometry: Geometry, queries: np.ndarray, keys: np.ndarray, jobs: Sequence[Job], *, seed: int = 1, latency: int = 0,
    pause: int = 0, touches: int = 0, reads: bool = True, wait: int = 0, resets: int = 0, mutation: Edit | None = None,
) -> Run:  # fmt: skip
    """`queries`: uint16 [slots, HEAD_DIM]; `keys`: uint16 [blocks, BLOCK_TOKENS, HEAD_DIM]. AssertionError where the bench
    says that a rule is broken."""
    buffer = np.zeros((64, geometry.head_dim), np.uint16)
    buffer[: len(queries)] = queries
    script = struct.pack("<7I", seed, latency, pause, touches, reads, wait, resets) + buffer.tobytes()
    script += struct.pack("<I", len(keys)) + np.ascontiguousarray(keys).tobytes() + struct.pack("<I", len(jobs))
    script += b"".join(struct.pack("<5I", *job) for job in jobs)
    done = subprocess.run([program(geometry, mutation)], input=script, capture_output=True, timeout=300)
    assert done.returncode == 0, (done.stderr + done.stdout[-1000:]).decode(errors="replace")[-1000:]
    found, at = [], 0
    for _ in jobs:
        error, accepted, ended = struct.unpack_from("<IQQ", done.stdout, at)
        at += 20
        window = None
        if reads and not error:
            window = np.frombuffer(done.stdout, np.uint32, 1024, at)
            at += 4096
        found.append(Done(bool(error), accepted, ended, window))
    return Run(found, *struct.unpack_from("<QQ", done.stdout, at))
