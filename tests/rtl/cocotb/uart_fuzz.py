"""Fuzzes the pin of the UART bridge: `python -m tests.rtl.cocotb.uart_fuzz --minutes 10 [--seed N]`. uart_fuzz.cpp checks.

Ends with exit code 1 and the seed at the first thing that is wrong. Each seed is another run; the model is kept in the cache.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

from kvfpga.transport.sim import build, verilator
from tests.rtl.cocotb.dut_build import HERE
from tests.rtl.cocotb.uart_build import BRIDGE, Mutation, texts

VERILATE = (
    f"--cc --Mdir out --top-module {BRIDGE} --prefix V{BRIDGE} -O3 --x-assign fast --x-initial unique --no-timing"
    f" --output-split 0 -Wno-lint -Wno-style -Wno-fatal {build.assertion_flag()}"
).split()
COMPILE = (
    "-std=c++17 -O2 -w -DVM_COVERAGE=0 -DVM_SC=0 -DVM_TIMING=0 -DVM_TRACE=0 -DVM_TRACE_FST=0 -DVM_TRACE_VCD=0 -DVM_TRACE_SAIF=0"
    " -DVL_TIME_STAMP64"
).split()


def program(mutation: Mutation | None = None) -> Path:
    """The built harness."""
    root, version = verilator.find()
    harness = HERE / "uart_fuzz.cpp"
    rtl = texts(mutation)
    recipe = f"{version} {VERILATE} {COMPILE} {build._processor()} {harness.read_text()} {rtl}"
    path = build.cache_folder() / "cocotb" / f"fuzz-{hashlib.sha256(recipe.encode()).hexdigest()[:32]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as name:
                folder = Path(name)
                for file, text in rtl.items():
                    (folder / file).write_text(text)
                environment = {**os.environ, "VERILATOR_ROOT": str(root)}
                verilate = [root / "bin" / "verilator_bin", *VERILATE, *rtl]
                subprocess.run(verilate, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
                include = root / "include"
                runtime = include / "verilated.cpp", include / "verilated_threads.cpp"
                units = [*sorted((folder / "out").glob("*.cpp")), *runtime, harness]
                (folder / "all.cpp").write_text("".join(f'#include "{unit}"\n' for unit in units))
                folders = [part for place in ("out", include, include / "vltstd") for part in ("-I", place)]
                compiler = [*build._compiler(), *COMPILE, *folders, "all.cpp", "-o", "fuzz", "-lpthread"]
                subprocess.run(compiler, cwd=folder, check=True)
                (folder / "fuzz").rename(path)
    return path


def run(seed: int, seconds: float, mutation: Mutation | None = None) -> str:
    """The harness's last line: PASS and figures, or FAIL and where."""
    done = subprocess.run([program(mutation), str(seed), str(seconds)], capture_output=True, text=True, timeout=seconds + 300)
    return (done.stdout.strip().splitlines() or [f"FAIL without a word, exit code {done.returncode}: {done.stderr[-500:]}"])[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.getrandbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    said = run(options.seed, options.minutes * 60)
    print(said)
    return 0 if said.startswith("PASS") else 1


if __name__ == "__main__":
    sys.exit(main())
