"""linux/vfio.py, vfio_user.py, following.py and transport/sim/guest.py, as a virtual machine sees them: a client of our own
speaks the protocol, is a driver, and lends memory."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from kvfpga.blackbox.simulation import SimulationBlackBox
from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import DifferenceError, KvfpgaError, TargetError, UsageError
from kvfpga.device.regmap import BAR2_VAS, DEVICE_ID, QUERY, SCORES
from kvfpga.linux import vfio
from kvfpga.linux.following import Follower
from kvfpga.session.open import open_session
from kvfpga.session.purpose import Purpose
from tests.helpers import vfio_client as protocol
from tests.helpers.node import small_target
from tests.helpers.random_commands import BLOCK, VA, random_commands
from tests.helpers.small_device import ENTRIES
from tests.helpers.vfio_client import BAR0, BAR2, CONFIG, Client, Ram, Refused, rung
from tests.helpers.vfio_driver import RAM_AT, SCORES_READ, Driver, at
from tests.helpers.waiting import LONG, until

COMMANDS = int(os.environ.get("KVFPGA_VFIO_COMMANDS", 400))
EINVAL, EEXIST, ENOTSUP = 22, 17, 95
RAM_ADDRESS = 1 << 20
MIB = 1 << 20


class Machine:
    """A server in a thread of this process, and the client that it serves."""

    def __init__(self, folder, followed: bool):
        self.path, self.ended = folder / "vfio", threading.Event()
        self.error: KvfpgaError | None = None
        self.counts: dict[str, int] = {}
        self._session = open_session(small_target("sim"), folder / "session").__enter__()
        self.lockstep = self._session.open(True, Purpose.RESET)
        assert isinstance(self.lockstep.recorder, SimulationBlackBox)
        self.follower = Follower(self.lockstep, self.lockstep.recorder) if followed else None
        self.stop, is_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=[is_up])
        self._thread.start()
        is_up.wait(LONG)
        self.client = Client(self.path)

    def _run(self, is_up: threading.Event) -> None:
        try:
            self.counts = vfio.serve(self.path, self.lockstep.device.mmio, is_up.set, self.stop, self.follower)
        except KvfpgaError as error:
            self.error = error
        finally:
            is_up.set()

    def end(self) -> KvfpgaError | None:
        """Once the server has ended, or the client has gone: with which error."""
        self.client.close()
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        return self.error

    def close(self) -> None:
        self.stop.set()
        self.end()
        self._session.__exit__()


@pytest.fixture
def machine(tmp_path):
    """Negotiated; nobody follows."""
    machine = Machine(tmp_path, followed=False)
    machine.client.negotiate()
    yield machine
    machine.close()


@pytest.fixture
def followed(tmp_path):
    machine = Machine(tmp_path, followed=True)
    machine.client.negotiate()
    yield machine
    machine.close()


@pytest.fixture
def client(machine):
    return machine.client


# ---- the protocol ----------------------------------------------------------------------------------------------------
def test_what_a_client_proposes_is_taken_or_made_smaller(tmp_path):
    machine = Machine(tmp_path, followed=False)
    assert machine.client.negotiate(minor=7) == (0, 1, {"max_msg_fds": 8, "max_data_xfer_size": 4096})
    machine.close()


def test_a_client_that_says_nothing_of_itself_is_told_nothing(tmp_path):
    machine = Machine(tmp_path, followed=False)
    assert machine.client.negotiate(data=b"") == (0, 1, {})
    machine.close()


def test_the_device_is_a_pci_function_with_two_bars_and_a_message_interrupt(client):
    assert struct.unpack("<IIII", client.ask(protocol.GET_INFO, bytes(16))) == (16, 3, 9, 5)
    sizes = {}
    for index in range(9):
        answer = client.ask(protocol.REGION_INFO, struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))
        sizes[index] = struct.unpack("<IIIIQQ", answer)[4]
    assert {index: size for index, size in sizes.items() if size} == {BAR0: 1 << 16, BAR2: 1 << 22, CONFIG: 256}
    counts = [client.ask(protocol.IRQ_INFO, struct.pack("<IIII", 16, 0, index, 0)) for index in range(3)]
    assert [struct.unpack("<IIII", answer)[3] for answer in counts] == [0, 1, 0]
    vendor, device = struct.unpack("<HH", client.load(CONFIG, 0, 4))
    assert (vendor, device) == (0x1DE5, 0x0A10)
    assert client.load(CONFIG, client.load(CONFIG, 0x34, 1)[0], 1) == b"\x05"  # the capability is MSI


def test_the_configuration_keeps_what_may_be_written(client):
    client.store(CONFIG, 4, b"\x06\x04")
    client.store(CONFIG, 0, b"\0\0\0\0")
    client.store(CONFIG, 0x10, b"\xff\xff\xff\xff")
    assert client.load(CONFIG, 0, 6) == b"\xe5\x1d\x10\x0a\x06\x04"
    assert client.load(CONFIG, 0x10, 4) == bytes(4)  # the client itself knows where its BARs are


@pytest.mark.parametrize(("command", "body", "number"), [
    (99, b"", ENOTSUP),
    (6, bytes(16), ENOTSUP),
    (protocol.REGION_INFO, struct.pack("<IIIIQQ", 32, 0, 9, 0, 0, 0), EINVAL),
    (protocol.IRQ_INFO, struct.pack("<IIII", 16, 0, 3, 0), EINVAL),
    (protocol.SET_IRQS, struct.pack("<IIIII", 20, 0x24, 1, 0, 2), EINVAL),
    (protocol.SET_IRQS, struct.pack("<IIIII", 20, 0x24, 0, 0, 1), EINVAL),
    (protocol.READ, struct.pack("<QII", 0xFFFC, BAR0, 8), EINVAL),
    (protocol.READ, struct.pack("<QII", (1 << 64) - 4, BAR0, 8), EINVAL),
    (protocol.READ, struct.pack("<QII", 0, BAR0, 8192), EINVAL),
    (protocol.READ, struct.pack("<QII", 0, 1, 4), EINVAL),
    (protocol.READ, struct.pack("<QII", 254, CONFIG, 4), EINVAL),
    (protocol.WRITE, struct.pack("<QII", 254, CONFIG, 4) + bytes(4), EINVAL),
    (protocol.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 4096, 100), EINVAL),
    (protocol.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 1 << 40, 4096), EINVAL),
    (protocol.DMA_UNMAP, struct.pack("<IIQQ", 24, 0, 4096, 4096), EINVAL),
])  # fmt: skip
def test_what_cannot_be_granted_is_an_errno_and_the_connection_goes_on(client, command, body, number):
    with pytest.raises(Refused) as refused:
        client.ask(command, body)
    assert refused.value.number == number
    assert client.readl(at("DEVICE_ID")) == DEVICE_ID


HEADER = struct.Struct("<HHIII")


@pytest.mark.parametrize(("data", "reason"), [
    (HEADER.pack(1, protocol.GET_INFO, 15, 0, 0), "a message of 15 bytes"),
    (HEADER.pack(1, protocol.GET_INFO, 1 << 30, 0, 0), "a message of 1,073,741,824 bytes"),
    (HEADER.pack(1, protocol.GET_INFO, 20, 0, 0) + bytes(4), "GET_INFO of 4 bytes; it has 16"),
    (HEADER.pack(1, protocol.READ, 20, 0, 0) + bytes(4), "REGION_READ of 4 bytes; it has 16"),
    (HEADER.pack(1, protocol.WRITE, 36, 0, 0) + struct.pack("<QII", 0, BAR0, 8) + bytes(4), "REGION_WRITE of 8 bytes that has 4"),
    (HEADER.pack(1, protocol.GET_INFO, 32, 1, 0) + bytes(16), "a message of type 1"),
    (HEADER.pack(1, protocol.VERSION, 20, 0, 0) + bytes(4), "VERSION again"),
])  # fmt: skip
def test_a_message_that_the_protocol_does_not_have_ends_the_connection_with_a_reason(machine, data, reason):
    machine.client.sock.sendall(data)
    assert machine.client.exactly(1) == b""
    error = machine.end()
    assert isinstance(error, TargetError) and reason in str(error)


@pytest.mark.parametrize(("data", "reason"), [
    (b"\0\0\1\0not JSON\0", "no JSON object"), (b"\0\0\1\0[]\0", "no JSON object"), (b"\1\0\0\0", "version 1.0 of the protocol"),
])  # fmt: skip
def test_a_client_of_another_protocol_is_told_so(tmp_path, data, reason):
    machine = Machine(tmp_path, followed=False)
    machine.client.send(protocol.VERSION, data)
    assert machine.client.exactly(1) == b""
    assert reason in str(machine.end())
    machine.close()


def test_nothing_is_answered_before_the_version(tmp_path):
    machine = Machine(tmp_path, followed=False)
    machine.client.send(protocol.GET_INFO, bytes(16))
    assert machine.client.exactly(1) == b""
    assert "GET_INFO before VERSION" in str(machine.end())
    machine.close()


def test_a_message_that_does_not_come_to_its_end_ends_the_connection(machine):
    machine.client.sock.sendall(HEADER.pack(1, protocol.READ, 32, 0, 0)[:10])
    machine.client.sock.shutdown(socket.SHUT_WR)
    assert machine.client.exactly(1) == b""
    assert "not come to its end" in str(machine.end())


# ---- registers -------------------------------------------------------------------------------------------------------
def test_registers_are_read_and_written_in_words_and_pairs(client):
    client.writel(at("SCRATCH"), 0x12345678)
    assert client.readl(at("SCRATCH")) == 0x12345678
    client.writeq(at("BOOST_ADDR"), 0x1122334455667788)
    assert client.readq(at("BOOST_ADDR")) == 0x1122334455667788
    client.writel(at("BOOST_ADDR"), 1)  # waits for its high word
    assert client.readq(at("BOOST_ADDR")) == 0x1122334455667788
    client.writel(at("BOOST_ADDR") + 4, 2)
    assert client.readq(at("BOOST_ADDR")) == 2 << 32 | 1


def test_what_the_device_refuses_reads_as_ones_or_vanishes_and_is_remembered(machine, client):
    assert client.readl(0x0FF0) == 0xFFFFFFFF
    assert client.readl(at("ERROR")) & 1
    client.writel(at("DEVICE_ID"), 0)
    assert client.readl(at("DEVICE_ID")) == DEVICE_ID
    assert client.load(BAR0, 1, 2) == b"\xff\xff"
    client.store(BAR0, at("SCRATCH") + 1, b"\1")
    assert client.readl(at("SCRATCH")) == 0
    machine.end()
    assert machine.counts["refused"] == 4


def test_an_entry_is_read_from_bar2(client):
    driver = Driver(client)
    driver.send(cmd.Load(7, 1, 2, 64, 95, VA))
    driver.wait()
    assert client.load(BAR2, 0, 32)[:12] == struct.pack("<HBBII", 7, 2, 1, 64, 95)
    assert client.load(BAR2, BAR2_VAS - (1 << 22), 8) == VA.to_bytes(8, "little")


def test_posted_writes_take_effect_in_order(client):
    for value in range(200):
        client.post(at("SCRATCH"), value, 4)
    assert client.readl(at("SCRATCH")) == 199


def test_a_reset_forgets_everything_but_the_machine(client):
    driver = Driver(client)
    driver.send(cmd.Step(5))
    driver.wait()
    client.writel(at("SCRATCH"), 1)
    client.ask(protocol.RESET)
    driver.wait()
    assert (client.readl(at("SCRATCH")), client.readq(at("T_CURRENT_STEP")), driver.result()) == (0, 0, None)


# ---- interrupts ------------------------------------------------------------------------------------------------------
def test_an_interrupt_comes_when_its_line_rises_and_once(client):
    driver, event = Driver(client), os.eventfd(0)
    client.set_interrupt(event)
    client.writel(at("IRQ_ENABLE"), 1)
    driver.send(cmd.Step(1))
    assert rung(event) == 1
    driver.send(cmd.Step(2))
    driver.wait()
    assert rung(event, 0.1) == 0  # the line is high as long as a result waits
    assert driver.results() == ["OK", "OK"]
    driver.send(cmd.Step(3))
    assert rung(event) == 1


def test_an_interrupt_that_is_pending_comes_when_it_is_switched_on(client):
    driver, event = Driver(client), os.eventfd(0)
    client.writel(at("IRQ_ENABLE"), 1)
    driver.send(cmd.Step(1))
    driver.wait()
    client.set_interrupt(event)
    assert rung(event) == 1
    client.set_interrupt(None)
    driver.results()
    driver.send(cmd.Step(2))
    driver.wait()
    assert rung(event, 0.1) == 0


# ---- memory ----------------------------------------------------------------------------------------------------------
def lend(client, size: int = 8 * MIB) -> Ram:
    """RAM at RAM_ADDRESS, with tiers 2 and 3 in it."""
    ram = Ram(size)
    client.map(RAM_ADDRESS, ram.descriptor, size)
    driver = Driver(client)
    for tier in (2, 3):
        driver.send(cmd.Set(f"TIER_BASE{tier}", RAM_AT + RAM_ADDRESS + (tier - 2) * size // 2))
    driver.wait()
    return ram


@pytest.mark.parametrize("kind", ["machine", "followed"])
def test_a_block_goes_through_the_guests_memory(kind, request):
    machine = request.getfixturevalue(kind)
    driver, ram = Driver(machine.client), lend(machine.client)
    data = os.urandom(BLOCK)
    ram.bytes[BLOCK : 2 * BLOCK] = data
    driver.send(cmd.Load(1, 0, 0, 0, 31, VA, 2))
    driver.send(cmd.Load(1, 0, 0, 32, 63, VA + BLOCK, 2))
    driver.send(cmd.Touch(1, 0, 0, 32))  # fetched into tier 1
    assert driver.results()[-3:] == ["OK"] * 3
    ram.bytes[BLOCK : 2 * BLOCK] = bytes(BLOCK)
    driver.send(cmd.Set("EVICT_TIER", 3))  # refused: there are blocks
    driver.send(cmd.Evict(VA + BLOCK, 1))  # clean: nothing is written
    driver.wait()
    assert ram.bytes[BLOCK : 2 * BLOCK] == bytes(BLOCK)
    assert len(driver.records()) == 2
    ram.bytes[2 * BLOCK : 3 * BLOCK] = data
    driver.send(cmd.Load(2, 0, 0, 0, 31, VA + 2 * BLOCK))
    driver.send(cmd.Evict(VA + 2 * BLOCK, 1))  # dirty, and tier 1 is zero there
    driver.wait()
    assert ram.bytes[2 * BLOCK : 3 * BLOCK] == bytes(BLOCK)
    assert machine.end() is None


def test_memory_that_was_never_lent_or_is_taken_back_answers_with_an_error(client):
    driver, ram = Driver(client), lend(client)
    client.unmap(RAM_ADDRESS, ram.size)
    driver.send(cmd.Load(1, 0, 0, 0, 31, VA, 2))
    driver.send(cmd.Touch(1, 0, 0, 0))
    driver.wait()
    assert client.readl(at("ERROR")) & 2
    assert client.readq(at("T_DMA_ERRORS")) == 1


def test_memory_that_may_not_be_written_stays_as_it_is(client):
    ram, driver = Ram(4 * MIB), Driver(client)
    client.map(RAM_ADDRESS, ram.descriptor, ram.size, flags=1)
    driver.send(cmd.Set("TIER_BASE2", RAM_AT + RAM_ADDRESS))
    driver.send(cmd.Load(1, 0, 0, 0, 31, VA))
    ram.bytes[:BLOCK] = b"x" * BLOCK
    driver.send(cmd.Evict(VA, 1))
    driver.wait()
    assert client.readl(at("ERROR")) & 2
    assert ram.bytes[:BLOCK] == b"x" * BLOCK


@pytest.mark.parametrize(("address", "size", "offset", "number"), [
    (RAM_ADDRESS + 4096, 4096, 0, EEXIST), (0, 2 * RAM_ADDRESS, 0, EEXIST), (64 * MIB, MIB, 8 * MIB, EINVAL),
    (100, 4096, 0, EINVAL),
])  # fmt: skip
def test_memory_that_cannot_be_mapped_is_refused(client, address, size, offset, number):
    ram = lend(client)
    with pytest.raises(Refused) as refused:
        client.map(address, ram.descriptor, size, offset)
    assert refused.value.number == number


def test_memory_without_a_descriptor_comes_and_goes(client):
    client.map(0, None, MIB, flags=1)
    with pytest.raises(Refused):
        client.map(4096, None, 4096)
    client.unmap(0, MIB)
    client.map(4096, None, 4096)


# ---- lockstep --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("reads", [True, False], ids=["reads results", "never reads"])
@pytest.mark.parametrize("strict", [1, 0])
def test_random_commands_of_a_driver_are_followed(followed, strict, reads):
    driver, ram = Driver(followed.client, takes=reads), lend(followed.client)
    ram.bytes[:] = os.urandom(1 << 16) * (ram.size >> 16)
    driver.send(cmd.Set("STRICT", strict))
    sent = 0
    for number, command in enumerate(random_commands(strict, COMMANDS)):
        if command == cmd.Set("STRICT", 1) or (isinstance(command, cmd.Score) and not reads):
            continue  # the latter would wait for room
        if command == cmd.Set("CLEAR_COUNTERS", 1) and reads:
            driver.results()  # behind a SCORE that waits for room, it would clear the count of scores that are read until then
        driver.send(command)
        sent += 1
        if number % 17 == 0 and reads:
            driver.results()
            driver.records()
        if number % 50 == 0:
            if reads:
                driver.results()  # a SCORE under way may or may not see what is written now
            followed.client.writel(0x4000 + 4 * (number % 4096), number)
            followed.client.writel(0x8000 + 4 * (number % 4096), 0x3C003C00)
    if reads:
        driver.results()
    driver.wait()
    assert followed.end() is None
    assert followed.lockstep.commands >= sent
    assert followed.lockstep.differences == 0


def scored_block(followed) -> Driver:
    """A block of random numbers in tier 1 and a query of ones in slot 0."""
    driver, ram = Driver(followed.client), lend(followed.client)
    ram.bytes[:BLOCK] = np.random.default_rng(1).normal(size=BLOCK // 2).astype("<f2").tobytes()
    for word in range(64):
        followed.client.writel(QUERY + 4 * word, 0x3C003C00)
    driver.send(cmd.Load(1, 0, 0, 0, 20, VA, 2))
    driver.send(cmd.Prefetch(VA, 1, 0))
    assert driver.results()[-2:] == ["OK", "OK"]
    return driver


def test_scores_are_followed_word_by_word(followed):
    driver = scored_block(followed)
    driver.send(cmd.Score(1, 0, 0, 0, 0, 1))
    found = [followed.client.readl(SCORES + 4 * word) for word in range(1024)]  # the first one waits for the SCORE
    assert driver.results() == ["OK"]
    assert 0x3F800000 in found[256:277] and found[20] != found[21] == 0xFF800000
    assert followed.client.readl(SCORES) == 0  # taken with the result
    assert followed.end() is None
    assert followed.lockstep.model.telemetry()["result_bytes"] == 4 * (1024 + SCORES_READ + 1)


@pytest.mark.parametrize("offset", [0, 0x400, 0x800, 0xC00, 0xC04])
def test_a_wrong_score_stops_the_device(followed, offset):
    driver = scored_block(followed)
    until(lambda: followed.lockstep.commands == 4 and not followed.follower.awaits_results)
    followed.lockstep.model.queries[0, :] ^= 0x40
    with suppress(ConnectionError):
        driver.send(cmd.Score(1, 0, 0, 0, 0, 1))
        followed.client.readl(SCORES + offset)
        driver.wait()
    error = followed.end()
    assert isinstance(error, DifferenceError)
    assert f"word {offset:#x}" in error.report.text()


def test_scores_that_nobody_takes_hold_up_the_device_and_not_the_machine(followed):
    driver = Driver(followed.client)
    driver.send(cmd.Load(1, 0, 0, 0, 31, VA))
    for _ in range(3):
        driver.send(cmd.Score(1, 0, 0, 0, 0, 0))
    driver.send(cmd.Step(1))
    followed.client.writel(at("CTRL"), 4)
    followed.client.writel(0x8000, 1)
    assert followed.client.readl(at("STATUS")) & 1
    assert driver.result() == "OK"  # of LOAD
    assert followed.end() is None


def test_a_full_fifo_loses_no_command(followed):
    driver = Driver(followed.client)
    for step in range(1, 200):
        driver.send(cmd.Step(step))
    driver.wait()
    assert followed.client.readq(at("T_STEP_COUNT")) == 199
    assert followed.end() is None
    assert followed.lockstep.model.telemetry()["step_count"] == 199


def test_rings_of_user_space_are_followed_and_refused_ones_are_not(followed):
    driver, accepted = Driver(followed.client), 0
    for step in range(1, 60):
        driver.write(("RING_STEP", "RING_STEP_FAST")[step % 2], step)
        accepted += not followed.client.readl(at("ERROR")) & 1
        followed.client.writel(at("ERROR"), 1)
        if step % 20 == 0:
            driver.send(cmd.Step(step))
            driver.results()
    driver.results()
    assert 0 < accepted < 59 and followed.client.readq(at("T_STEP_COUNT")) == accepted + 2
    assert followed.end() is None
    assert followed.lockstep.model.telemetry()["step_count"] == accepted + 2


@pytest.mark.parametrize(("spoil", "where"), [
    (lambda model: model.counters.update(hot_count=3), "hot_count"),
    (lambda model: model.directory.priority.__setitem__(0, 7), "PASS_DIGEST"),
    (lambda model: model.directory.F.__setitem__(0, 9), "entry 0"),
    (lambda model: model.memory_write(model.slot_address(1, 1), b"x"), "bytes of block 1 in tier 2"),
    (lambda model: setattr(model, "step", 1000), "current_step"),
    (lambda model: setattr(model, "execute", lambda c, real=model.execute: replace(real(c), matched=99)), "result of step 9"),
])  # fmt: skip
def test_a_difference_stops_the_device_with_a_failure_folder(followed, spoil, where):
    driver = Driver(followed.client)
    driver.send(cmd.Load(1, 0, 0, 0, 31, VA))
    driver.send(cmd.Load(1, 0, 0, 32, 63, VA + BLOCK))
    assert driver.results() == ["OK", "OK"]
    until(lambda: followed.lockstep.commands == 2 and not followed.follower.awaits_results)
    spoil(followed.lockstep.model)
    with suppress(ConnectionError):  # it may be seen at once
        driver.send(cmd.Step(9))
        driver.wait()
        driver.result()
    assert followed.client.exactly(1) == b""
    error = followed.end()
    assert isinstance(error, DifferenceError)
    assert where in error.report.text()
    assert (error.report.folder / "report.json").exists()


def test_a_soft_reset_of_the_driver_is_followed(followed):
    driver = Driver(followed.client)
    driver.send(cmd.Load(1, 0, 0, 0, 31, VA))
    followed.client.writel(at("CTRL"), 1)
    driver.wait()
    driver.send(cmd.Step(3))
    assert driver.results() == ["OK"]
    assert followed.end() is None
    assert followed.lockstep.model.telemetry()["valid_entries"] == 0


def test_a_dma_to_nowhere_ends_the_following_with_a_remedy(followed):
    driver = Driver(followed.client)
    driver.send(cmd.Set("TIER_BASE2", RAM_AT))
    driver.send(cmd.Load(1, 0, 0, 0, 31, VA))
    driver.send(cmd.Evict(VA, 1))
    assert followed.client.exactly(1) == b""
    assert "TIER_BASE2" in followed.end().remedy


# ---- the server ------------------------------------------------------------------------------------------------------
def test_a_socket_that_is_served_is_not_taken(machine, tmp_path):
    with pytest.raises(UsageError, match="another kvfpga serves|cannot make"):
        vfio.serve(machine.path, machine.lockstep.device.mmio)


def test_a_file_that_is_no_socket_is_left_alone(machine, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot make the socket"):
        vfio.serve(tmp_path / "file", machine.lockstep.device.mmio)
    assert (tmp_path / "file").read_text() == "mine"


def kvfpga(*arguments) -> subprocess.Popen:
    words = [sys.executable, "-m", "kvfpga", "--entries", ENTRIES, "--json", *arguments]
    return subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("option", ["--target=model", "--record=x", "--trace=x.vcd", "--verbose", "--log=/dev/null"])
def test_only_a_plain_simulation_goes_into_a_machine(option, tmp_path):
    server = kvfpga(option, "vfio", tmp_path / "vfio")
    _, told = server.communicate(timeout=LONG)
    assert server.returncode == 2 and told.count("\n") == 2


def test_the_session_has_what_the_guest_left(tmp_path):
    session = "--session", tmp_path / "session"
    server = kvfpga(*session, "vfio", tmp_path / "vfio")
    assert json.loads(server.stdout.readline())["at"] == str(tmp_path / "vfio")
    with Client(tmp_path / "vfio") as client:
        client.negotiate()
        driver = Driver(client)
        driver.send(cmd.Load(7, 0, 0, 0, 31, VA))
        driver.wait()
    counts = json.loads(server.communicate(timeout=LONG)[0])
    assert (server.returncode, counts["commands"], counts["differences"]) == (0, 1, 0)
    found, _ = kvfpga(*session, "dump").communicate(timeout=LONG)
    assert [entry["request_id"] for entry in json.loads(found)["entries"]] == [7]
    stepped, _ = kvfpga(*session, "step", "1").communicate(timeout=LONG)
    assert json.loads(stepped)["checked"]


@pytest.mark.parametrize("with_client", [True, False])
def test_a_signal_ends_it(tmp_path, with_client):
    server = kvfpga("--no-check", "--session", tmp_path / "session", "vfio", tmp_path / "vfio")
    server.stdout.readline()
    if with_client:
        client = Client(tmp_path / "vfio")
        client.negotiate()
    server.terminate()
    server.communicate(timeout=LONG)
    assert server.returncode == 0
    assert not (tmp_path / "vfio").exists()

