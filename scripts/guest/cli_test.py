"""`kvfpga --target kvcpu:/dev/kvcpu0`, in a guest that has the driver: every command in lockstep, here and behind the driver.

Run by scripts/guest/init. Each test is a function; the last line is "N passed, N failed".
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

import kvfpga

NODE = "/dev/kvcpu0"
TARGET = f"kvcpu:{NODE}"
BLOCK, VA = 16384, 0x7F00_0000_0000


def run(*words: object, code: int = 0) -> dict[str, Any]:
    """What a command says in JSON; it must end with `code`."""
    command = [sys.executable, "-m", "kvfpga", "--json", "--target", TARGET, *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True)
    line = (done.stdout.splitlines() or ["{}"])[-1]
    print(f"  kvfpga {' '.join(map(str, words))}: {done.returncode} {line[:150]}", flush=True)
    if done.returncode != code:
        raise AssertionError(f"exit code {done.returncode}, not {code}: {done.stdout[-300:]} {done.stderr[-900:]}")
    answer: dict[str, Any] = json.loads(line)
    return answer | {"stderr": done.stderr}


def load(device: Any, count: int, first: int = 0) -> None:
    for i in range(first, first + count):
        device.load(request=1, layer=0, head=0, tokens=(32 * i, 32 * i + 31), va=VA + BLOCK * i)


# ---- the command line ------------------------------------------------------------------------------------------------
def commands() -> None:
    assert run("info")["entries"] == 256
    loaded = run("load", "--request", 1, "--layer", 0, "--head", 0, "--tokens", "0:31", "--va", hex(VA))
    assert loaded["index"] == 0 and loaded["checked"] is True
    stepped = run("step", 5)
    assert stepped["matched"] == 1 and stepped["checked"] is True and stepped["cycles"] > 0
    assert run("evict", hex(VA), BLOCK)["triggers"] == [{"index": 0, "channel": "evict", "from": 1, "to": 2}]
    telemetry = run("telemetry")
    assert (telemetry["current_step"], telemetry["evict_completions"], telemetry["valid_entries"]) == (5, 1, 1)
    assert [entry["tier"] for entry in run("dump")["entries"]] == [2]
    assert run("verify")["code"] == "OK"


def refusals() -> None:
    assert run("step", 1, code=1)["code"] == "ERR_STEP_ORDER"
    assert "BOOST_ADDR" in run("reg", "write", "BOOST_ADDR", 5, code=2)["stderr"]
    assert "TIER_BASE2" in run("reg", "write", "TIER_BASE2", 0, code=2)["stderr"]
    assert "memory" in run("mem", "read", 0, 64, code=2)["stderr"]
    assert run("verify")["code"] == "OK"


# ---- the API: many commands in one process --------------------------------------------------------------------------
def moves_and_policies() -> None:
    with kvfpga.open(TARGET) as device:
        device.reset()
        device.weights("balanced")
        device.set(T1_CAPACITY=32)
        load(device, 64)
        for step in range(1, 8):
            device.hot(VA + BLOCK * step, 2 * BLOCK)
            device.step(40 * step)
        device.prefetch(VA + 40 * BLOCK, 4 * BLOCK, 300)
        device.share(VA, BLOCK)
        device.release(VA, BLOCK)
        codes = np.arange(256 * 64, dtype=np.uint32).reshape(256, 64).astype(np.uint8)
        device.ranked(codes, fill_age=3)
        for step in range(301, 306):
            device.lookup(1, 0, 0, 32 * (step % 64), touch=True, class_id=step % 256, order=7)
            device.step(step)
        assert device.lookup(9, 0, 0, 0).index is None
        device.unload_request(1)
        device.linear()
        load(device, 8)
        verified = device.verify()
        assert (verified.entries, verified.blocks) == (256, 0)
        print(f"  {device.commands} commands, {device.checks} checks, {device.differences} differences", flush=True)
        assert device.checks > 100 and device.telemetry()["evict_completions"] > 0


def somebody_else() -> None:
    """What another program does with the node is a difference: the check is a real one."""
    run("reset")
    run("step", 9)
    with open(NODE, "rb+", buffering=0) as node:
        fcntl.ioctl(node, 0x40084B01, (12).to_bytes(8, "little"))  # STEP_ADVANCE
    differing = run("step", 20, code=4)
    assert "step_count" in json.dumps(differing)
    run("sync")
    assert run("step", 30)["checked"] is True
    assert run("verify")["code"] == "OK"


TESTS: tuple[Callable[[], None], ...] = (commands, refusals, moves_and_policies, somebody_else)


def main() -> int:
    passed = 0
    for test in TESTS:
        start = time.monotonic()
        try:
            test()
        except Exception:
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED {test.__name__}", flush=True)
        else:
            passed += 1
            print(f"ok     {test.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{passed} passed, {len(TESTS) - passed} failed", flush=True)
    return int(passed != len(TESTS))


if __name__ == "__main__":
    sys.exit(main())
