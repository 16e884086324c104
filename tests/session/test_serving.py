"""serving.py and `kvfpga serve`: one device for many, whole whatever ends it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest

from kvfpga.blackbox import generation
from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import DifferenceError, SessionError
from kvfpga.session.serving import SAVE_SECONDS, Served
from kvfpga.targets.target import Target
from tests.helpers.command_line import Kvfpga
from tests.helpers.fake_device import FakeDevice
from tests.helpers.waiting import LONG, until

KVFPGA = [sys.executable, "-m", "kvfpga.cli.main"]
MODEL = Target("model", 256)


def stored_step(folder) -> int:
    return Kvfpga(folder)("telemetry")["current_step"]


def stored_step_of(folder) -> int:
    """The same of a session that is in use, from a copy."""
    shutil.copytree(folder, folder / "copy")
    return stored_step(folder / "copy")


# ---- Served ------------------------------------------------------------------------------------------------------------
def test_what_was_done_is_stored_at_the_end_and_in_time(tmp_path):
    now = [0.0]
    with Served(MODEL, tmp_path, clock=lambda: now[0]) as served:
        before = generation.current_state(tmp_path / "model")
        served.execute(cmd.Step(3))
        now[0] += SAVE_SECONDS - 0.1
        served.save_in_time()
        assert generation.current_state(tmp_path / "model") == before
        now[0] += 0.1
        served.save_in_time()
        assert generation.current_state(tmp_path / "model") != before
        served.execute(cmd.Step(4))
    assert stored_step(tmp_path) == 4


@contextmanager
def no_room():
    """No file of this process may grow: as on a full disk, but for the error's name."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_state_before_and_the_device_goes_on(tmp_path):
    with Served(MODEL, tmp_path) as served:
        served.execute(cmd.Step(3))
        served.save()
        served.execute(cmd.Step(4))
        with no_room(), pytest.raises(SessionError, match=r"File too large.*answered since \d\d:\d\d:\d\d.*is not in it"):
            served.save()
        assert stored_step_of(tmp_path) == 3
        assert served.execute(cmd.Step(5))[0].code == "OK"
    assert stored_step(tmp_path) == 5


def test_a_difference_ends_the_serving(tmp_path, monkeypatch):
    fake, ended = FakeDevice(256), []
    monkeypatch.setattr(Target, "open_mmio", lambda self, wave=None, restore=None: fake)
    with Served(Target("sim", 256), tmp_path, on_failure=lambda: ended.append(1)) as served:
        served.execute(cmd.Step(3))
        fake.spoil_result = lambda result: replace(result, matched=result.matched + 1)
        with pytest.raises(DifferenceError):
            served.execute(cmd.Step(4))
        fake.spoil_result = lambda result: result
        with pytest.raises(DifferenceError):  # what comes after could not be trusted
            served.execute(cmd.Step(5))
    assert ended == [1]


# ---- the command -------------------------------------------------------------------------------------------------------
def start(tmp_path, *words):
    options = ["--target", "model", "--entries", "256", "--session", str(tmp_path / "session")]
    process = subprocess.Popen([*KVFPGA, *options, "serve", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip()
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stores_the_state_and_takes_the_node_away(tmp_path, number):
    process = start(tmp_path, "--uapi", str(tmp_path / "node"), "--sysfs", str(tmp_path / "sys"))
    (tmp_path / "sys" / "current_step").write_text("7\n")
    process.send_signal(number)
    assert process.wait(LONG) == 0, process.stderr.read()
    assert not (tmp_path / "node").exists() and not (tmp_path / "sys").exists()
    assert stored_step(tmp_path / "session") == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_a_session(tmp_path, number):
    options = ["--target", "model", "--entries", "256", "--session", str(tmp_path / "session")]
    with Served(MODEL, tmp_path / "session"):
        command = [*KVFPGA, *options, "serve", "--uapi", str(tmp_path / "node")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert "waiting for another kvfpga" in process.stderr.readline()
            process.send_signal(number)
            assert process.wait(LONG) == 130
    assert not (tmp_path / "node").exists()


def test_signals_one_after_the_other_store_the_state(tmp_path):
    process = start(tmp_path, "--uapi", str(tmp_path / "node"), "--sysfs", str(tmp_path / "sys"))
    for step in (7, 9):
        (tmp_path / "sys" / "current_step").write_text(f"{step}\n")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    assert process.wait(LONG) in (0, -signal.SIGTERM, 130), process.stderr.read()
    assert stored_step(tmp_path / "session") == 9


STEP_128 = "import fcntl, os, sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR), 0x40084B01, (128).to_bytes(8, sys.byteorder))"
"""What the public adapter around vLLM's allocator does when it is started by itself, with the step 128."""


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("before", [None, 128, 500])
def test_a_program_that_counts_its_steps_by_itself(tmp_path, before, compat):
    """On a fresh session, one at that step, and one that is past it."""
    if before:
        Kvfpga(tmp_path / "session")("step", before)
    words = ["--uapi", str(tmp_path / "node"), "--sysfs", str(tmp_path / "sys"), *["--compat"] * compat]
    process = start(tmp_path, *words)
    accepted = compat or before != 500
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", STEP_128, tmp_path / "node"], stderr=subprocess.PIPE, text=True)
        assert (done.returncode == 0) == accepted and accepted == ("Invalid argument" not in done.stderr), done.stderr
    tolerated = 2 if compat and before == 500 else 0
    assert (tmp_path / "sys" / "tolerated").read_text().startswith(f"STEP_ADVANCE={tolerated}\n")
    process.terminate()
    said = process.communicate(timeout=LONG)[1]
    assert said.count("; the public kernel module accepts it, and so does --compat\n") == (not accepted)
    assert process.returncode == 0
    assert stored_step(tmp_path / "session") == (before or 128)


def test_compat_tells_at_the_end_what_was_tolerated(tmp_path):
    process = start(tmp_path, "--uapi", str(tmp_path / "node"), "--sysfs", str(tmp_path / "sys"), "--compat")
    for step in (7, 3, 8):
        (tmp_path / "sys" / "current_step").write_text(f"{step}\n")
    assert (tmp_path / "sys" / "tolerated").read_text().startswith("STEP_ADVANCE=1\n")
    process.terminate()
    assert process.wait(LONG) == 0
    assert "a success for the program: STEP_ADVANCE 1\n" in process.stderr.read()
    assert stored_step(tmp_path / "session") == 8


def test_a_killed_server_leaves_a_whole_state_and_the_next_one_takes_over(tmp_path):
    process = start(tmp_path, "--uapi", str(tmp_path / "node"), "--sysfs", str(tmp_path / "sys"))
    before = generation.current_state(tmp_path / "session" / "model")
    (tmp_path / "sys" / "current_step").write_text("7\n")
    until(lambda: generation.current_state(tmp_path / "session" / "model") != before)  # it stores every few seconds
    process.kill()
    process.wait(LONG)
    assert stored_step(tmp_path / "session") == 7
    again = start(tmp_path, "--uapi", str(tmp_path / "node"), "--sysfs", str(tmp_path / "sys"))
    (tmp_path / "sys" / "current_step").write_text("11\n")
    again.terminate()
    assert again.wait(LONG) == 0, again.stderr.read()
    assert stored_step(tmp_path / "session") == 11
    assert not os.path.lexists(tmp_path / "node")


@pytest.mark.parametrize(
    "words",
    [[], ["--uapi", "a", "--listen", "unix:b"], ["--sysfs", "x", "--listen", "unix:b"], ["--auto-load", "--listen", "unix:b"],
     ["--compat", "--listen", "unix:b"],
     ["--shared", "--uapi", "a"], ["--listen", "unix:b"], ["--listen", "nowhere"]],
)  # fmt: skip
def test_what_cannot_be_served_is_a_usage_error(tmp_path, words):
    Kvfpga(tmp_path)("serve", *words, code=2)


@pytest.mark.parametrize("address", ["nowhere", "tcp://*:99999", "tcp://no.such.host.invalid:7300"])
def test_no_device_is_made_ready_for_an_address_that_is_none(tmp_path, monkeypatch, address):
    monkeypatch.setattr(Target, "open_mmio", lambda target: pytest.fail("a model was built for nothing"))
    kv = Kvfpga(tmp_path, "--target", "sim")
    kv.run("serve", "--listen", address)
    assert kv.code in (2, 3) and address in kv.err


def test_the_name_of_a_host_is_looked_up_once(tmp_path, monkeypatch):
    """To refuse what is none before a model is built, and to listen."""
    asked = []

    def look_up(host, *more, **options):
        asked.append(host)
        return real("127.0.0.1" if host == "once.invalid" else host, *more, **options)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setenv("KVFPGA_KEYS", str(tmp_path / "keys"))
    kv = Kvfpga(tmp_path / "session", "--target", "sim")
    kv("keys", "create")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        kv.run("serve", "--listen", f"tcp://once.invalid:{port}")
    assert kv.code == 3 and f"cannot listen at tcp://once.invalid:{port}: Address already in use" in kv.err
    assert asked == ["once.invalid"]


def test_a_server_needs_no_stdout(tmp_path):
    path = tmp_path / "socket"
    words = ["--target", "sim", "--entries", "256", "--session", tmp_path / "session", "serve", "--listen", f"unix:{path}"]
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "kvfpga", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: path.exists() or process.poll() is not None)
        process.terminate()
        assert "Traceback" not in process.communicate()[1] and process.returncode == 0
