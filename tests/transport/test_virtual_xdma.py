"""transport/virtual/xdma.py: nodes that behave as the XDMA driver's, faults, and the whole way from the command line through the
system calls to the Verilated device and back."""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from kvfpga.cli.main import cli
from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import BusError, DifferenceError, TargetError, UsageError
from kvfpga.device.device import Device
from kvfpga.device.regmap import BAR2_ENTRIES, REGISTERS
from kvfpga.device.regmap import DEVICE_ID as KVCPU
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.pcie_mmio import PcieMmio
from kvfpga.transport.mmio import SPACE_BYTES, Batch
from kvfpga.transport.virtual.xdma import C2H, EVENTS, H2C, USER, Card, Nodes, fault
from tests.helpers import mapped_bar, section8
from tests.helpers.mapped_bar import Mapped
from tests.helpers.random_script import BASE, BLOCK, Script, random_queries, random_tables
from tests.helpers.small_device import DATA_BITS, ENTRIES, LANES
from tests.helpers.waiting import LONG, until
from tests.helpers.xdma_process import running

DEVICE_ID, SCRATCH, STATUS, ERROR, IRQ_ENABLE, STEP, RESULT = (
    REGISTERS[name].offset for name in ("DEVICE_ID", "SCRATCH", "STATUS", "ERROR", "IRQ_ENABLE", "STEP_FAST", "RESULT_STATUS")
)
SIZE = ("--entries", str(ENTRIES), "--lanes", str(LANES), "--data-bits", str(DATA_BITS))
ONES = 0xFFFFFFFF
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nodes of one board for all tests that leave it usable."""
    folder = tmp_path_factory.mktemp("card")
    with running(folder, *SIZE):
        yield folder


@pytest.fixture
def board(folder):
    with PcieMmio(folder) as board:
        Device(board).soft_reset()
        yield board


@pytest.fixture
def node(folder):
    """Open nodes by name, for plain system calls."""
    opened = {}

    def open_node(name):
        if name not in opened:
            access = {"user": os.O_RDWR, "h2c_0": os.O_WRONLY}.get(name, os.O_RDONLY)
            opened[name] = os.open(folder / f"xdma0_{name}", access)
        return opened[name]

    yield open_node
    for fd in opened.values():
        os.close(fd)


def lockstep(board) -> Lockstep:
    pair = Lockstep(Device(board), ReferenceModel(ENTRIES))
    pair.reset()
    return pair


def load(n: int, tier: int = 1) -> cmd.Load:
    return cmd.Load(1 + n % 5, 0, 0, 32 * n, 32 * n + 31, BASE + n * BLOCK, tier)


# ---- the nodes, one system call at a time ----------------------------------------------------------------------------
def test_a_call_moves_one_word_whatever_the_count(node):
    user = node("user")
    for count in (4, 5, 8, 64, 4096, 1 << 20):
        assert os.pread(user, count, DEVICE_ID) == KVCPU.to_bytes(4, "little")
        assert os.pwrite(user, (count * 3).to_bytes(4, "little") + bytes(count - 4), SCRATCH) == 4
        assert os.pread(user, 4, SCRATCH) == (count * 3).to_bytes(4, "little")


@pytest.mark.parametrize(("count", "offset"), [(1, 0), (3, DEVICE_ID), (4, 1), (4, 2), (4, DEVICE_ID + 3), (64, 6)])
def test_misaligned_or_short_is_eproto(node, count, offset):
    with pytest.raises(OSError) as caught:
        os.pread(node("user"), count, offset)
    assert caught.value.errno == errno.EPROTO
    with pytest.raises(OSError) as caught:
        os.pwrite(node("user"), bytes(count), offset)
    assert caught.value.errno == errno.EPROTO


@pytest.mark.parametrize("offset", [0xD000, 0x30000, SPACE_BYTES - 4, SPACE_BYTES, 1 << 33])
def test_what_the_device_refuses_reads_as_all_ones_and_vanishes(node, offset):
    assert os.pread(node("user"), 4, offset) == b"\xff" * 4
    assert os.pwrite(node("user"), b"\1\2\3\4", offset) == 4
    remembers = os.pread(node("user"), 4, ERROR)[0] & 1
    assert remembers == (offset < SPACE_BYTES), "beyond the space nobody is asked"
    os.pwrite(node("user"), b"\3\0\0\0", ERROR)


def test_mmap_is_refused_and_open_is_not_exclusive(node, folder):
    with pytest.raises(OSError) as caught:
        mmap.mmap(node("user"), 4096)
    assert caught.value.errno == errno.ENODEV
    second = os.open(folder / "xdma0_user", os.O_RDWR)
    assert os.pread(second, 4, DEVICE_ID) == os.pread(node("user"), 4, DEVICE_ID)
    os.close(second)


def test_directions(folder):
    both = {name: os.open(folder / f"xdma0_{name}", os.O_RDWR) for name in ("h2c_0", "c2h_0", "events_0")}
    for name in ("c2h_0", "events_0"):
        with pytest.raises(OSError) as caught:
            os.pwrite(both[name], b"1234", 0)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError) as caught:
        os.pread(both["h2c_0"], 4, 0)
    assert caught.value.errno == errno.EINVAL
    for fd in both.values():
        os.close(fd)


def test_fuzz_of_the_calls(board, node, folder):
    """Any count, any offset: a word, EPROTO, or bytes; and the device never minds."""
    rng = random.Random(7)
    memory = bytearray(1 << 16)
    board.memory_write(0, bytes(memory))
    for _ in range(1500):
        count, offset = rng.choice((1, 2, 3, 4, 5, 7, 8, 13, 100, 5000)), rng.randrange(0x8000, 1 << 16)
        match rng.randrange(4):
            case 0 | 1 as way:
                allowed, beyond = count >= 4 and offset % 4 == 0, offset + 0x8000  # BAR0
                try:
                    if way:
                        assert os.pwrite(node("user"), rng.randbytes(count), beyond) == 4
                    else:
                        assert os.pread(node("user"), count, beyond) == b"\xff" * 4  # nothing is mapped there
                    assert allowed
                except OSError as error:
                    assert error.errno == errno.EPROTO and not allowed
            case 2:
                data = rng.randbytes(min(count, len(memory) - offset))
                assert os.pwrite(node("h2c_0"), data, offset) == len(data)
                memory[offset : offset + len(data)] = data
            case 3:
                assert os.pread(node("c2h_0"), count, offset) == bytes(memory[offset : offset + count]).ljust(count, b"\0")
    assert board.memory_read(0, 1 << 16) == memory
    assert Device(board).telemetry()["step_count"] == 0
    board.write32(ERROR, 3)


def test_a_register_is_one_access_of_the_device():
    """Whatever the count of the call (a read of COMPLETION takes a record)."""
    sim = FakeSim()
    nodes = Nodes(Card(sim))
    assert nodes.read(USER, 4096, 8, 0) == (8).to_bytes(4, "little")
    assert nodes.write(USER, b"\1\0\0\0" * 9, 12, 0) == 4
    assert sim.calls == [("r", 8), ("w", 12, 1)]
    for call in (
        lambda: nodes.read(USER, 4, 9, 0), lambda: nodes.write(USER, b"123", 8, 0), lambda: nodes.read(EVENTS, 8, 0, 0)
    ):  # fmt: skip
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EPROTO
    assert len(sim.calls) == 2


class FakeSim:
    """Enough of VerilatorSim for a Card; always idle."""

    def __init__(self):
        self.calls = []
        self.sim = SimpleNamespace(io=SimpleNamespace(idle=1, irq=0))

    def read32(self, offset):
        self.calls.append(("r", offset))
        if offset == 0x100:
            raise TargetError("the simulation broke: test")
        return offset

    def write32(self, offset, value):
        self.calls.append(("w", offset, value))

    def reset(self, wait):
        self.calls.append(("reset", wait))

    def memory_read(self, addr, size):
        return bytes(size)

    def memory_write(self, addr, data):
        self.calls.append(("m", addr, data))


# ---- interrupts, and a clock that runs by itself ---------------------------------------------------------------------
def test_events(board, node):
    events, poll = node("events_0"), select.poll()
    poll.register(events, select.POLLIN)
    assert poll.poll(0) == []
    for count in (1, 3, 8):
        with pytest.raises(OSError) as caught:
            os.read(events, count)
        assert caught.value.errno == errno.EPROTO
    board.write32(IRQ_ENABLE, 1)
    for step in (1, 2):
        waiter = threading.Timer(0.05, board.write32, (STEP, step))
        waiter.start()
        if step == 1:
            assert poll.poll(5000) == [(events, select.POLLIN)], "a poll that sleeps is woken"
        assert os.read(events, 4) == b"\1\0\0\0", "a read that sleeps is woken"
        waiter.join()
        assert poll.poll(0) == [], "and the event is taken"
        assert board.read_burst(RESULT, 6)[0] >> 31, "the result, which lets the interrupt fall"


def test_the_device_works_while_nobody_asks(board, node):
    """A long migration goes on between accesses that are far too few to clock it to its end."""
    device = Device(board)
    for n in range(40):
        device.execute(load(n))
    batch = Batch()
    batch.write64(REGISTERS["IMEVICT_ADDR"].offset, BASE)
    batch.write64(REGISTERS["IMEVICT_LEN"].offset, 40 * BLOCK)
    board.run(batch)
    assert board.read32(STATUS) & 7, "busy"
    looks = 0
    while board.read32(STATUS) & 7:  # each look gives it 500 of some 200,000 cycles
        looks += 1
        time.sleep(0.2)
    assert looks < 200, "or it worked because somebody asked"
    assert device.telemetry()["evict_completions"] == 40


def test_a_long_wait_sleeps_on_the_events(board):
    """The same through wait_idle, which leaves the interrupts as they were."""
    device = Device(board)
    board.write32(IRQ_ENABLE, 4)
    for n in range(20):
        device.execute(load(n))
    assert len(device.execute(cmd.Evict(BASE, 20 * BLOCK)).triggers) == 20
    assert board.read32(IRQ_ENABLE) == 4
    board.write32(IRQ_ENABLE, 0)


def test_an_idle_board_takes_no_processor_time(tmp_path):
    def ticks(pid) -> int:
        fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def rests(pid) -> bool:
        before = ticks(pid)
        time.sleep(1.0)
        return ticks(pid) == before

    with running(tmp_path / "new" / "folder", *SIZE) as server, PcieMmio(tmp_path / "new" / "folder") as board:
        assert board.read32(DEVICE_ID) == KVCPU
        until(lambda: rests(server.pid))


def has_open(pid: int, path) -> bool:
    """Has this process the file open? (No stat: the board's server would have to answer.)"""
    with contextlib.suppress(OSError):
        return any(os.readlink(entry) == str(path) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_a_killed_reader_of_events_and_a_stopped_server(tmp_path):
    folder = tmp_path / "card"
    with running(folder, *SIZE) as server:
        program = f"import os; os.read(os.open({str(folder / 'xdma0_events_0')!r}, os.O_RDONLY), 4)"  # none comes
        readers = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(3)]
        for reader in readers:
            until(lambda: has_open(reader.pid, folder / "xdma0_events_0"))  # noqa: B023
        readers[2].kill()
        assert readers[2].wait(LONG) == -signal.SIGKILL
        with PcieMmio(folder) as board:
            assert board.read32(DEVICE_ID) == KVCPU, "the others do not stand in the way"
            server.terminate()
            assert server.wait(LONG) == 0
            with pytest.raises(TargetError, match="is gone"):
                board.read32(DEVICE_ID)
        for reader in readers:
            reader.communicate(timeout=LONG)
    assert not os.path.ismount(folder)


def test_a_server_that_was_killed_leaves_room_for_the_next(tmp_path):
    with running(tmp_path / "card", *SIZE) as server:
        server.kill()
        server.wait()
    with pytest.raises(TargetError, match="is gone"):
        PcieMmio(tmp_path / "card")
    with running(tmp_path / "card", *SIZE), PcieMmio(tmp_path / "card") as board:
        assert board.read32(DEVICE_ID) == KVCPU


# ---- the device behind it --------------------------------------------------------------------------------------------
def random_script(folder, tmp_path, commands: int) -> tuple[list[str], list[str]]:
    """Random lines, and the words of the command that runs them on the board in `folder`."""
    random = Script(11, tables=random_tables(tmp_path, 11), queries=random_queries(tmp_path, 11))
    script = ["reset --raw", *random.lines(commands), "verify"]
    (tmp_path / "random.kvfpga").write_text("\n".join(script))
    options = ["--target", f"xdma:{folder}", "--session", str(tmp_path / "session"), "--json"]
    return script, [*options, "run", str(tmp_path / "random.kvfpga")]


def agree(script: list[str], code: int, stdout: str, stderr: str) -> None:
    """No difference, and every answer as contract section 8 has it."""
    assert code == 1, stderr
    found = [json.loads(line) for line in stdout.splitlines()]
    assert len(found) == len(script), stderr
    for line, answer in zip(script, found):
        section8.check(line, answer)
        assert answer.get("checked", True)
    assert found[-1]["differences"] == 0


def test_random_script_in_lockstep(folder, tmp_path):
    script, words = random_script(folder, tmp_path, 400)
    done = CliRunner().invoke(cli, words, prog_name="kvfpga")
    agree(script, done.exit_code, done.stdout, done.stderr)


@pytest.mark.skipif(not mapped_bar.IS_POSSIBLE, reason="c/mapped_bar.c knows the instructions of x86-64 only")
def test_random_script_in_lockstep_by_a_mapped_bar(folder, tmp_path):
    """Registers that count reads and start commands, behind the mapping: each access is of one word, and there is no other."""
    script, words = random_script(folder, tmp_path, 100)
    done, accesses = Mapped(folder, tmp_path).run(["-m", "kvfpga.cli.main", *words])
    agree(script, done.returncode, done.stdout, done.stderr)
    assert {access.kind for access in accesses} == {"load", "store"} and len(accesses) > 10 * len(script)
    assert [access for access in accesses if access.width != 4 or access.offset % 4] == []


MAP = f"""
import mmap, os, struct, sys
ID, SCRATCH = {DEVICE_ID}, {SCRATCH}
bar = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 4096)
words = memoryview(bar).cast("I")
"""


@pytest.mark.skipif(not mapped_bar.IS_POSSIBLE, reason="c/mapped_bar.c knows the instructions of x86-64 only")
@pytest.mark.parametrize(
    ("expression", "expected"),
    [("words[ID // 4]", [("load", DEVICE_ID, 4)]),
     ("words[ID // 4 :][:2].tolist()[0]", [("load", DEVICE_ID, 4), ("load", DEVICE_ID + 4, 4)]),
     ("words.__setitem__(SCRATCH // 4, 7)", [("store", SCRATCH, 4)]),
     ("int.from_bytes(bar[ID : ID + 4], 'little')", None), ("struct.pack_into('<I', bar, SCRATCH, 7)", None)],
)  # fmt: skip
def test_what_is_one_access_of_a_mapped_bar(folder, tmp_path, node, expression, expected):
    """As the docstring of MappedBar has it; None: more than one."""
    done, found = Mapped(folder, tmp_path).run(["-c", f"{MAP}print({expression})", str(folder / USER[1:])])
    assert done.returncode == 0, done.stderr
    assert found == expected if expected else len(found) > 1
    if found[0].kind == "load":
        assert int(done.stdout) == KVCPU
    else:
        assert os.pread(node("user"), 4, SCRATCH) == b"\7\0\0\0"


def test_bus_errors_are_found_and_stay_to_be_seen(board):
    pair = lockstep(board)
    pair.execute(load(0))
    bad = (
        lambda: board.read32(0xD000), lambda: board.write32(DEVICE_ID, 1), lambda: board.write32(BAR2_ENTRIES, 1),
        lambda: board.read_burst(BAR2_ENTRIES + 32 * ENTRIES - 4, 2),
    )  # fmt: skip
    for n, call in enumerate(bad):
        with pytest.raises(BusError) as caught:
            call()
        assert (caught.value.offset, caught.value.is_write) == [
            (0xD000, False), (DEVICE_ID, True), (BAR2_ENTRIES, True), (BAR2_ENTRIES + 32 * ENTRIES, False)
        ][n]  # fmt: skip
        assert ("UNMAPPED" in str(caught.value)) == (n == 0), "the others stand behind the first in ERROR"
        pair.execute(cmd.Step(n))
    assert (board.read32(ERROR), board.read32(REGISTERS["ERROR_OFFSET"].offset)) == (0x101, 0xD000)
    board.write32(ERROR, 3)
    assert board.read32(ERROR) == 0
    pair.verify()


def test_a_refused_doorbell(board):
    """More commands than the FIFO holds, behind one that takes long (it waits for the DMA, R22)."""
    Device(board).execute_many([load(n) for n in range(200)])
    batch = Batch()
    batch.write64(REGISTERS["IMEVICT_ADDR"].offset, BASE)
    batch.write64(REGISTERS["IMEVICT_LEN"].offset, 200 * BLOCK)
    for n in range(40):
        batch.write(STEP, n)
    with pytest.raises(BusError, match="FIFO_FULL") as caught:
        board.run(batch)
    refused = caught.value.position - 2
    assert 16 <= refused < 40
    board.wait_idle()
    assert Device(board).telemetry()["step_count"] == refused, "each one before it ran, none behind it"
    board.write32(ERROR, 3)


def test_the_card_is_locked(board, folder):
    with pytest.raises(TargetError, match=f"busy: process {os.getpid()} "):
        PcieMmio(folder)


# ---- faults ----------------------------------------------------------------------------------------------------------
def work(folder) -> None:
    """Commands in lockstep, long enough for every fault below; then everything read back."""
    with PcieMmio(folder) as board:
        pair = lockstep(board)
        for n in range(12):
            pair.execute(load(n, tier=1 + n % 3))
            pair.execute(cmd.Step(n))
        pair.verify()


@pytest.mark.parametrize("access", [0, 3, 193, 1500])
@pytest.mark.parametrize(
    ("kind", "match", "remedy"),
    [("ones", "dead link", "powered"), ("gone", "is gone", "lspci"), ("eio", "failed a transfer", "dmesg")],
)
def test_a_card_that_fails_for_good(tmp_path, kind, match, remedy, access):
    with running(tmp_path, *SIZE, "--inject", f"{kind}@{access}"):
        with pytest.raises(TargetError, match=match) as caught:
            work(tmp_path)
        assert (caught.value.exit_code, remedy in caught.value.remedy) == (3, True)


class Glitch:
    """A BAR on which one access goes wrong, the first of its kind at `place`: a load gives all ones, a store vanishes; or, with
    `reset`, the device is reset just before."""

    def __init__(self, bar, kind: str, place: int, reset: bool):
        self.bar, self.kind, self.place, self.reset, self.due = bar, kind, place, reset, True

    def _strikes(self, kind: str, at: int) -> bool:
        if not self.due or (kind, at) != (self.kind, self.place):
            return False
        self.due = False
        if self.reset:
            self.bar.store(REGISTERS["CTRL"].offset, 1)
        return not self.reset

    def load(self, at):
        return ONES if self._strikes("load", at) else self.bar.load(at)

    def load_many(self, at, count):
        return [self.load(at + 4 * i) for i in range(count)]

    def store(self, at, value):
        if not self._strikes("store", at):
            self.bar.store(at, value)

    def close(self):
        self.bar.close()


@pytest.mark.parametrize(
    ("kind", "place", "ones", "reset"),
    [
        ("load", "STATUS", "all ones on a live link", "left no result"),
        ("load", "RESULT_STATUS", "belongs to another command", "left no result"),
        ("load", "RESULT_MATCHED", "differ", "differ"),
        ("load", "RESULT_CYCLES", "belongs to another command", "differ"),
        ("load", "DIGEST", "differ", "differ"),
        ("load", "COMPLETION", "announced 12", "announced 12"),
        ("load", "COMPLETION_LEVEL", "announced 4294967295", "differ"),
        ("load", "T_EVICT_BYTES", "differ in 1 place after `step 1`", "differ"),
        ("load", "WEIGHT_R", "differ in 1 place after `verify`", "after `verify`"),
        ("load", "ENTRIES", "after `verify`", "after `verify`"),
        ("store", "STEP_FAST", "left no result", "differ"),
        ("store", "IMEVICT_LEN", "after `evict", "after `evict"),
    ],
)
@pytest.mark.parametrize("what", ["ones", "reset"])
def test_an_access_that_goes_wrong_once_is_never_taken_for_an_answer(board, kind, place, ones, reset, what):
    """All ones from a live link, a write that vanishes, a reset in the middle: each ends the command that it hits."""
    pair = lockstep(board)
    pair.execute_many([load(n) for n in range(12)])
    offset = BAR2_ENTRIES + 32 * 3 if place == "ENTRIES" else REGISTERS[place].offset
    board._bar = Glitch(board._bar, kind, offset, what == "reset")
    with pytest.raises((TargetError, DifferenceError), match=ones if what == "ones" else reset):
        pair.execute(cmd.Step(1))
        pair.execute(cmd.Evict(BASE, 3 * BLOCK))
        pair.verify()
    assert not board._bar.due


def test_a_stall_only_takes_time(tmp_path):
    with running(tmp_path, *SIZE, "--inject", "stall@200:0.5", "--inject", "stall@700:0.2"):
        work(tmp_path)


def test_a_stall_holds_up_the_access_and_no_other():
    sim, waits = FakeSim(), []
    card = Card(sim, [fault("stall@1:0.5")], stall=lambda seconds: waits.append((seconds, len(sim.calls))))
    for _ in range(3):
        card.load(8)
    assert waits == [(0.5, 1)] and len(sim.calls) == 3


def test_a_simulation_that_breaks_is_a_failed_transfer(capsys):
    with pytest.raises(OSError) as caught:
        Nodes(Card(FakeSim())).read(USER, 4, 0x100, 0)
    assert caught.value.errno == errno.EIO
    assert "the simulation broke" in capsys.readouterr().err


def test_faults_count_accesses():
    sim = FakeSim()
    nodes = Nodes(Card(sim, [fault("ones@1:2"), fault("reset@4"), fault("eio@5")]))
    assert nodes.read(USER, 4, 8, 0) == b"\x08\0\0\0"
    assert nodes.read(USER, 4, 8, 0) == b"\xff" * 4
    assert nodes.write(USER, b"\1\0\0\0", 8, 0) == 4, "a write that vanishes"
    assert nodes.read(C2H, 3, 8, 0) == b"\0\0\0"
    assert nodes.write(H2C, b"ab", 8, 0) == 2
    assert sim.calls == [("r", 8), ("reset", False), ("m", 8, b"ab")]
    with pytest.raises(OSError) as caught:
        nodes.read(C2H, 3, 8, 0)
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize(
    "text", ["", "ones", "ones@", "ones@x", "flip@3", "ones@-1", "gone@1:2", "stall@5", "stall@5:x", "stall@5:-1", "@3"]
)
def test_what_is_not_a_fault(text):
    with pytest.raises(UsageError, match="is not a fault"):
        fault(text)


# ---- the command -----------------------------------------------------------------------------------------------------
def test_serving_by_the_command_line(tmp_path):
    command = [sys.executable, "-m", "kvfpga.cli.main", "--json", "board", "serve", "xdma", tmp_path, *SIZE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        answer = json.loads(server.stdout.readline())
        assert answer == {"command": "board", "code": "OK", "target": f"xdma:{tmp_path}"}
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=LONG)
    assert (server.returncode, out) == (0, "") and "reg_rw" in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "code", "match"),
    [
        (["--inject", "flip@3"], 2, "flip@3 is not a fault"), (["--entries", "300"], 2, "300"), (["--seed", "x"], 2, "x"),
    ],
)  # fmt: skip
def test_serving_is_refused(tmp_path, options, code, match):
    done = CliRunner().invoke(cli, ["board", "serve", "xdma", str(tmp_path), *SIZE, *options], prog_name="kvfpga")
    assert done.exit_code == code and match in done.stderr


def test_a_folder_that_is_not_empty(tmp_path):
    (tmp_path / "file").touch()
    for name, match in ((".", "is not empty"), ("file", "is a file"), ("file/x", "cannot mount")):
        done = CliRunner().invoke(cli, ["board", "serve", "xdma", str(tmp_path / name), *SIZE], prog_name="kvfpga")
        assert done.exit_code == 2 and match in done.stderr
