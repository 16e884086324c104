"""Builds kvcpu_nmce of one geometry behind nmce_bench.cpp, and runs jobs on it."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from kvfpga.transport.sim import build, verilator
from scripts.mutation.mutations import Edit

HARNESS = Path(__file__).with_name("nmce_bench.cpp")
VERILATE = (
    "--cc --Mdir out --top-module kvcpu_nmce --prefix Vkvcpu_nmce -O3 --x-assign fast --x-initial unique --no-timing"
    " --output-split 0 -Wno-lint -Wno-style -Wno-fatal --assert"
).split()
COMPILE = (
    "-std=c++17 -O0 -w -DVM_COVERAGE=0 -DVM_SC=0 -DVM_TIMING=0 -DVM_TRACE=0 -DVM_TRACE_FST=0 -DVM_TRACE_VCD=0 -DVM_TRACE_SAIF=0"
    " -DVL_TIME_STAMP64"
).split()
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
    root, version = verilator.find()
    rtl = {path.name: path.read_text() for path in build.rtl_sources() if path.parent.name in ("nmce", "lib", "gen")}
    rtl = {name: text for name, text in rtl.items() if not name.startswith("kvcpu_reg") and name != "kvcpu_map_pkg.sv"}
    if mutation:
        rtl[mutation.file] = mutation.applied(rtl[mutation.file])
    values = {
        "DATA_BITS": geometry.data_bits, "BLOCK_TOKENS": geometry.block_tokens, "HEAD_DIM": geometry.head_dim,
    }  # fmt: skip
    recipe = f"{version} {VERILATE} {COMPILE} {HARNESS.read_text()} {rtl} {values}"
    path = build.cache_folder() / "cocotb" / f"nmce-{hashlib.sha256(recipe.encode()).hexdigest()[:32]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as name:
                folder = Path(name)
                for file, text in rtl.items():
                    (folder / file).write_text(text)
                generics = [f"-G{key}={value}" for key, value in values.items()]
                generics.append(f"-GBLOCK_BYTES={4 * geometry.block_tokens * geometry.head_dim}")
                command = [root / "bin" / "verilator_bin", *VERILATE, *generics, *rtl]
                environment = {**os.environ, "VERILATOR_ROOT": str(root)}
                subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
                include = root / "include"
                runtime = include / "verilated.cpp", include / "verilated_threads.cpp"
                units = [*sorted((folder / "out").glob("*.cpp")), *runtime, HARNESS]
                (folder / "all.cpp").write_text("".join(f'#include "{unit}"\n' for unit in units))
                folders = [part for place in ("out", include, include / "vltstd") for part in ("-I", place)]
                defines = [f"-D{key}={value}" for key, value in values.items()]
                compiler = [*build._compiler(), *COMPILE, *defines, *folders, "all.cpp", "-o", "bench", "-lpthread"]
                subprocess.run(compiler, cwd=folder, check=True)
                (folder / "bench").rename(path)
    return path


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
