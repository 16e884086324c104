"""Ctrl-C in scripts (scripts/interrupt.py)."""

import subprocess
import sys

import pytest

LONG = (
    "scripts.mutation.mutate", "scripts.bench", "scripts.bench.ioctls", "scripts.bench.remote", "scripts.bench.uart",
    "scripts.soak.follow", "scripts.soak.ioctls", "scripts.soak.ranked", "scripts.soak.uart", "tests.formal.prove",
    "tests.rtl.cocotb.uart_fuzz", "tests.rtl.nmce.nmce_check",
)  # fmt: skip
RUN = """
import runpy, signal, sys
def started(frame, event, argument):
    if frame.f_code.co_name == "main" and event == "call":
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)
sys.setprofile(started)
sys.argv = [sys.argv[1]]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("script", LONG)
def test_it_is_told_without_a_traceback(script):
    done = subprocess.run([sys.executable, "-c", RUN, script], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted")
