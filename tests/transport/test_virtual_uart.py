"""The virtual UART board: pyserial over a pty into every bit of the UART design, in lockstep, over good and bad lines.

Needs the RTL; what the host does with a board that misbehaves is in test_uart_bridge.py, on a bridge in Python.
"""

import errno
import json
import os
import random
import signal
import subprocess
import sys

import pytest

from kvfpga.contract.commands import Evict, Hot, Load, Prefetch, Share, Step
from kvfpga.contract.errors import BusError, TargetError, UsageError
from kvfpga.device.device import Device
from kvfpga.device.regmap import REGISTERS
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.transport.mmio import Batch
from kvfpga.transport.virtual.uart import FAULTS, SMALL, Incident, LineFaults, VirtualUartBoard, _Line
from kvfpga.uart_bridge import UartBridge

CLOCK_HZ, BAUD = 24_000_000, 3_000_000
"""Eight clock cycles a bit: the fewest that the receiver takes, so the quickest."""
PATIENT = 30.0
"""Seconds: the simulation is slower than a board, and the machine may be busy."""
SCRATCH, STEP_FAST, STEP_COUNT = (REGISTERS[name].offset for name in ("SCRATCH", "STEP_FAST", "T_STEP_COUNT"))
BLOCK = SMALL.block_bytes


def board(**options) -> VirtualUartBoard:
    return VirtualUartBoard(clk_hz=CLOCK_HZ, baud=BAUD, **options)


@pytest.fixture
def link():
    """A board over a good line, and a bridge to it."""
    virtual = board()
    with virtual.running() as port, UartBridge(port, BAUD, patience=PATIENT) as bridge:
        yield virtual, bridge


def lockstep(bridge: UartBridge) -> Lockstep:
    return Lockstep(Device(bridge), ReferenceModel(SMALL.entries, SMALL.block_tokens, SMALL.head_dim, SMALL.classes))


# ---- a good line ----------------------------------------------------------------------------------------------------


def test_identity(link):
    virtual, bridge = link
    identity = Device(bridge).identity
    assert (identity.entries, identity.block_bytes, identity.data_bits) == (256, 256, 64)
    assert identity.build_id == virtual.model.build_id
    assert bridge.bridge.clock_hz == CLOCK_HZ


def test_commands_in_lockstep_one_exchange_each(calm, link):
    virtual, bridge = link
    pair = lockstep(bridge)
    pair.execute_many([Load(n % 3, 0, 0, 32 * n, 32 * n + 31, n * BLOCK) for n in range(40)])
    before = bridge.link.exchanges
    assert pair.execute(Hot(0, 3 * BLOCK)).matched == 3
    assert bridge.link.exchanges == before + 1, "a command with its complete check"
    moved = 0
    for command in (Step(1), Share(0, BLOCK), Evict(0, 2 * BLOCK), Prefetch(5 * BLOCK, 4 * BLOCK, 10), Step(9), Step(300)):
        moved += len(pair.execute(command).triggers)  # their bytes are compared too: a board's memory starts with noise
    assert moved > 30
    assert pair.verify().blocks == 40
    assert bridge.link.repeats == bridge.link.damaged == 0
    counts = bridge.bridge_statistics()
    assert counts["frames_damaged"] == counts["bad_stop_bits"] == counts["runs_repeated"] == 0
    assert virtual.statistics()["bad_stop_bits"] == 0


def test_clock_stands_still_while_nothing_goes_on(link):
    virtual, bridge = link
    bridge.read32(SCRATCH)
    cycles = virtual.cycles
    assert bridge.link.exchanges and virtual.cycles == cycles


def test_bus_errors_come_through(link):
    _, bridge = link
    batch = Batch()
    batch.write(SCRATCH, 7)
    batch.burst(0x1E00, 2)
    batch.write(SCRATCH, 8)
    with pytest.raises(BusError) as caught:
        bridge.run(batch)
    assert (caught.value.position, caught.value.offset) == (1, 0x1E00)
    assert bridge.read32(SCRATCH) == 7
    with pytest.raises(TargetError, match="memory answered .* with DECERR"):
        bridge.memory_read(4 * 65536, 8)
    bridge.memory_write(4 * 65536 - 8, b"the last")
    assert bridge.memory_read(4 * 65536 - 8, 8) == b"the last"


def test_wrong_rate_is_named(monkeypatch):
    """With time for a machine that is busy; that it comes soon on a board is in test_uart_bridge.py."""
    monkeypatch.setattr("kvfpga.transport.uart.link.CONNECT_SECONDS", 12.0)
    with board().running() as port:
        with pytest.raises(TargetError, match="one does at 3000000") as caught:
            UartBridge(port, 921_600)
        assert caught.value.remedy == f"use --target uart:{port}@3000000"
        UartBridge(port, BAUD, patience=PATIENT).close()


def test_rate_that_is_no_even_part_of_the_clock(calm):
    virtual = VirtualUartBoard(clk_hz=10_000_000, baud=921_600)
    with virtual.running() as port, UartBridge(port, 921_600, patience=PATIENT) as bridge:
        data = random.Random(0).randbytes(1000)
        bridge.memory_write(3, data)
        assert bridge.memory_read(3, 1000) == data
        assert bridge.link.repeats == 0


# ---- a bad line -----------------------------------------------------------------------------------------------------

STEPS = 25


@pytest.mark.parametrize("kind", [*FAULTS, "all"])
def test_nothing_is_wrong_or_runs_twice_over_a_bad_line(kind):
    share = 0.015
    faults = LineFaults(**({kind: share} if kind != "all" else dict.fromkeys(FAULTS, share / 4)), delay_bits=100)
    virtual = board(seed=5)
    with virtual.running() as port, UartBridge(port, BAUD, patience=PATIENT) as bridge:
        virtual.set_faults(faults)
        for step in range(1, STEPS + 1):
            batch = Batch()
            batch.write(STEP_FAST, step)
            batch.write(SCRATCH, ~step & 0xFFFFFFFF)
            batch.wait_idle()
            where = batch.read(SCRATCH)
            count = batch.read64(STEP_COUNT)
            words = bridge.run(batch).words.tolist()
            assert (words[where], words[count]) == (~step & 0xFFFFFFFF, step)
        virtual.set_faults(LineFaults())
        assert bridge.read64(STEP_COUNT) == STEPS
        hits = virtual.statistics()
    for name in FAULTS if kind == "all" else [kind]:
        assert hits[f"{name}_in"] + hits[f"{name}_out"] > 0, "or this test shows nothing"
    if kind in ("flip", "drop", "double", "all"):
        assert bridge.link.repeats > 0


def test_faults_repeat_with_their_seed():
    faults = LineFaults(0.1, 0.1, 0.1, 0.1)
    data = bytes(range(256)) * 4
    one, same, other = (_Line(faults, seed) for seed in ("1", "1", "2"))
    assert one.parts(data) == same.parts(data) != other.parts(data)
    assert one.symbols(data).tolist() == same.symbols(data).tolist()
    assert _Line(LineFaults(), "1").parts(data) == [data]


def test_flips_hit_the_stop_bit_too():
    virtual = board(seed=1)
    with virtual.running() as port, UartBridge(port, BAUD, patience=PATIENT) as bridge:
        virtual.set_faults(LineFaults(flip=0.05))
        for _ in range(15):
            bridge.read32(SCRATCH)
        virtual.set_faults(LineFaults())
        assert bridge.bridge_statistics()["bad_stop_bits"] > 0


# ---- incidents ------------------------------------------------------------------------------------------------------


def bytes_to_connect() -> int:
    with board().running() as port, UartBridge(port, BAUD, patience=PATIENT) as bridge:
        return bridge.link.bytes_out


def test_reset_in_the_middle_is_told_and_final():
    virtual = board(incidents=[Incident("reset", 120)])
    with virtual.running() as port, UartBridge(port, BAUD, patience=PATIENT) as bridge:
        with pytest.raises(TargetError, match="has lost this session") as caught:
            for value in range(100):
                bridge.write32(SCRATCH, value)
        assert virtual.counts["reset"] == 1
        with pytest.raises(TargetError) as again:
            bridge.read32(SCRATCH)
        assert again.value is caught.value
    assert "may or may not have run" in caught.value.message


def test_silence_for_a_while_is_survived_and_nothing_runs_twice():
    """Requests are executed meanwhile and their replies lost: they come from the store when asked for again. The stall lasts
    for 30 bytes unsaid, however quick the machine is."""
    virtual = board(incidents=[Incident("stall", bytes_to_connect() + 60, 0.3)], clock=lambda: virtual.counts["unsaid"] / 100)
    with virtual.running() as port, UartBridge(port, BAUD, patience=PATIENT) as bridge:
        for step in range(1, 21):
            bridge.write32(STEP_FAST, step)
        assert bridge.read64(STEP_COUNT) == 20
        assert virtual.counts["unsaid"] > 0 and bridge.link.repeats > 0
        assert bridge.bridge_statistics()["runs_repeated"] > 0


def test_silence_for_ever_ends():
    virtual = board(incidents=[Incident("stall", bytes_to_connect() + 60)])
    with virtual.running() as port, UartBridge(port, BAUD) as bridge:
        with pytest.raises(TargetError, match="stopped answering"):
            for value in range(100):
                bridge.write32(SCRATCH, value)


def test_unplugged_board_is_gone():
    virtual = board(incidents=[Incident("unplug", bytes_to_connect() + 60)])
    with virtual.running() as port, UartBridge(port, BAUD, patience=PATIENT) as bridge:
        with pytest.raises(TargetError, match="has gone away"):
            for value in range(100):
                bridge.write32(SCRATCH, value)
    with pytest.raises(TargetError):
        UartBridge(port)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["fire@3", "reset", "reset@x", "reset@5:1", "stall@5:", "stall@5:1.2.3", "unplug@-1"])
def test_incident_that_means_nothing(text):
    with pytest.raises(UsageError, match="is no incident"):
        Incident.parse(text)


def test_incidents_as_text():
    assert Incident.parse("stall@100:0.5") == Incident("stall", 100, 0.5)
    assert Incident.parse("unplug@7") == Incident("unplug", 7)


@pytest.mark.parametrize("rates", [{"flip": -0.1}, {"flip": 0.6, "drop": 0.6}, {"delay_bits": 1 << 14}])
def test_faults_that_mean_nothing(rates):
    with pytest.raises(UsageError):
        LineFaults(**rates)


def test_rate_too_high_for_the_clock():
    with pytest.raises(UsageError, match="baud from a clock"):
        VirtualUartBoard(clk_hz=20_000_000, baud=3_000_000)


@pytest.mark.parametrize("failing", ["openpty", "pipe"])
def test_a_board_without_a_port_leaves_nothing_behind(monkeypatch, failing):
    freed = []

    class Watched(VirtualUartBoard):
        def __setattr__(self, name, value):
            watched = lambda board: freed.append(value(board))  # noqa: E731
            super().__setattr__(name, watched if name == "_ub_free" else value)

    def refused():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, failing, refused)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Too many open files"):
        Watched(clk_hz=CLOCK_HZ, baud=BAUD)
    assert len(freed) == 1 and len(os.listdir("/proc/self/fd")) == len(before)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_command_serves_until_it_is_told_to_end(tmp_path):
    link = tmp_path / "board"
    link.symlink_to("/dev/pts/123456")  # what a killed board left
    command = [sys.executable, "-m", "kvfpga.cli.main", "--json", "board", "serve", "uart", "--clock-hz", str(CLOCK_HZ)]
    with subprocess.Popen([*command, "--link", link], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            answer = json.loads(process.stdout.readline())
            assert answer["target"] == f"uart:{link}@{BAUD}"
            with UartBridge(str(link), BAUD, patience=PATIENT) as bridge:
                assert Device(bridge).entries == 256
        finally:
            process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "bytes_in" in said
    assert not os.path.lexists(link)


@pytest.mark.parametrize("is_board", [False, True], ids=["a file", "another board"])
def test_command_leaves_alone_what_it_did_not_make(tmp_path, request, is_board):
    link = tmp_path / "mine"
    if is_board:
        master, slave = os.openpty()
        request.addfinalizer(lambda: (os.close(master), os.close(slave)))
        link.symlink_to(os.ttyname(slave))
    else:
        link.write_text("keep")
    before = link.lstat().st_ino
    command = [sys.executable, "-m", "kvfpga.cli.main", "board", "serve", "uart", "--link", link]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "cannot make the link" in done.stderr
    assert link.lstat().st_ino == before
