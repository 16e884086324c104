"""A bench in C++ around one Verilated module: built once, kept in the cache of models, as is Verilator's own code for all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kvfpga.contract import extras
from kvfpga.transport.sim import build, verilator

try:
    from filelock import FileLock
except ModuleNotFoundError as missing:
    raise extras.lacking("a bench in C++", "test", missing) from None

VERILATE = (
    "--cc --Mdir out -O3 --x-assign fast --x-initial unique --no-timing --output-split 0 -Wno-lint -Wno-style -Wno-fatal"
).split()
COMPILE = (
    "-std=c++17 -w -DVM_COVERAGE=0 -DVM_SC=0 -DVM_TIMING=0 -DVM_TRACE=0 -DVM_TRACE_FST=0 -DVM_TRACE_VCD=0 -DVM_TRACE_SAIF=0"
    " -DVL_TIME_STAMP64"
).split()


def program(
    top: str, rtl: Mapping[str, str], harness: Path, verilate: list[str], compile: list[str], parameters: Mapping[str, int] = {},
) -> Path:  # fmt: skip
    """The built program. `rtl`: the texts of the design by their file names, in the order of compilation. `verilate`, `compile`:
    flags beside those that all benches have. `parameters` of `top`."""
    root, version = verilator.find()
    flags = [*VERILATE, "--top-module", top, "--prefix", f"V{top}", *verilate, *(f"-G{k}={v}" for k, v in parameters.items())]
    recipe = f"{version} {flags} {COMPILE} {compile} {build._processor()!r} {harness.read_text()} {rtl}"
    path = build.cache_folder() / "cocotb" / f"{harness.stem}-{hashlib.sha256(recipe.encode()).hexdigest()[:32]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as name:
                folder = Path(name)
                for file, text in rtl.items():
                    (folder / file).write_text(text)
                environment = {**os.environ, "VERILATOR_ROOT": str(root)}
                command = [root / "bin" / "verilator_bin", *flags, *rtl]
                subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
                include = root / "include"
                _unite(folder / "all.cpp", [*sorted((folder / "out").glob("*.cpp")), harness])
                folders = [part for place in ("out", include, include / "vltstd") for part in ("-I", place)]
                compiler = [*build._compiler(), *COMPILE, *folders]
                own = _runtime(compiler, folder, path.parent, version)
                subprocess.run([*compiler, *compile, "all.cpp", own, "-o", "bench", "-lpthread"], cwd=folder, check=True)
                (folder / "bench").rename(path)
    return path


def _runtime(compiler: list[str | Path], folder: Path, kept: Path, version: str) -> Path:
    """Verilator's own code, compiled unless it is in `kept` already: a small bench is half of that."""
    key = hashlib.sha256(f"{version} {compiler}".encode()).hexdigest()[:32]
    path = kept / f"bench-runtime-{key}.o"
    if not path.exists():
        include = verilator.find()[0] / "include"
        _unite(folder / "runtime.cpp", [include / "verilated.cpp", include / "verilated_threads.cpp"])
        subprocess.run([*compiler, "-c", "runtime.cpp", "-o", "runtime.o"], cwd=folder, check=True)
        (folder / "runtime.o").rename(path)
    return path


def _unite(path: Path, units: list[Path]) -> None:
    path.write_text("".join(f'#include "{unit}"\n' for unit in units))
