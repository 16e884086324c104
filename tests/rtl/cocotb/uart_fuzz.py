"""Fuzzes the pin of the UART bridge: `python -m tests.rtl.cocotb.uart_fuzz --minutes 10 [--seed N]`. uart_fuzz.cpp checks.

Ends with exit code 1 and the seed at the first thing that is wrong. Each seed is another run; the model is kept in the cache.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

from kvfpga.transport.sim import build
from scripts import manual
from scripts.interrupt import interruptible
from tests.helpers import verilated_bench
from tests.rtl.cocotb.dut_build import HERE
from tests.rtl.cocotb.uart_build import BRIDGE, Mutation, texts


def program(mutation: Mutation | None = None) -> Path:
    """The built harness."""
    flags = [build.assertion_flag()], [build.effort().often]
    return verilated_bench.program(BRIDGE, texts(mutation), HERE / "uart_fuzz.cpp", *flags)


def run(seed: int, seconds: float, mutation: Mutation | None = None) -> str:
    """The harness's last line: PASS and figures, or FAIL and where."""
    done = subprocess.run([program(mutation), str(seed), str(seconds)], capture_output=True, text=True, timeout=seconds + 300)
    return (done.stdout.strip().splitlines() or [f"FAIL without a word, exit code {done.returncode}: {done.stderr[-500:]}"])[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=manual.Page)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.getrandbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    said = run(options.seed, options.minutes * 60)
    print(said)
    return 0 if said.startswith("PASS") else 1


if __name__ == "__main__":
    sys.exit(interruptible(main))
