"""The Linux driver on a real kernel, before the Verilated RTL: all of its tests on one kernel, with few commands where their
number is not the point. `make guest` has three kernels, and more commands.

Where Debian's packages cannot be had, nothing is proved: that is a failure in CI, and elsewhere the test is skipped. Fetched
once, they stay in the user's cache (docs/linux.md).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.helpers.places import ROOT

TESTS = re.compile(r"\bTEST\((\w+)\)[,}]")
SOURCE = ROOT / "driver/tests/test.c"
POSTS, COMMANDS = 1000, 1000


def guest(folder, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "scripts.guest", "--kernel", "6.12", "--folder", folder, *options]
    words += ["--append", f"POSTS={POSTS}", "--append", f"COMMANDS={COMMANDS}"]
    done = subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 3:
        reason = " ".join(done.stderr[done.stderr.rindex("guest: ") :].split())
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return done


@pytest.fixture(scope="module")
def booted(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], str, str]:
    """One guest: what it said with the driver as it is, and after that with a fault in it."""
    done = guest(tmp_path_factory.mktemp("guest"), "--then-fault", "swaps-operands")
    return done, *done.stdout.split("guest: with a fault\n")


def test_the_driver_on_a_kernel(booted):
    names = TESTS.findall(SOURCE.read_text())
    done, sound, _ = booted
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^ok +(\w+)", sound, re.MULTILINE) == names
    assert done.stdout.splitlines()[-1] == f"{len(names)} passed, 0 failed"
    assert "\n  0 of 16384 bytes differ in guest memory\n" in sound
    assert re.search(rf"^  {POSTS} commands, .* lost 0$", sound, re.MULTILINE)


def test_a_driver_with_a_fault_is_seen(booted):
    _, _, faulty = booted
    assert re.findall(r"^(ok|FAILED) +(\w+)", faulty, re.MULTILINE) == [("FAILED", "blocks")]
    assert "\n0 passed, 1 failed\n" in faulty
