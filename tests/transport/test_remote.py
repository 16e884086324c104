"""transport/remote: the seam over a socket; who gets in, who waits, who dies, and what comes of it."""

from __future__ import annotations

import errno
import gc
import itertools
import logging
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import msgspec
import numpy as np
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import BusError, DifferenceError, IdleTimeout, KvfpgaError, SessionError, TargetError, UsageError
from kvfpga.device.device import Device
from kvfpga.device.regmap import REGISTERS
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.transport.mmio import SPACE_BYTES, Batch, BatchResult, OpKind
from kvfpga.transport.remote import keys as remote_keys
from kvfpga.transport.remote import protocol as wire
from kvfpga.transport.remote import server as remote_server
from kvfpga.transport.remote.client import RemoteMmio
from kvfpga.transport.remote.server import serve
from tests.helpers.command_line import Kvfpga
from tests.helpers.fake_device import FakeDevice
from tests.helpers.random_commands import random_commands
from tests.helpers.remote_process import SlowDevice, step_batch
from tests.helpers.small_device import ENTRIES
from tests.helpers.waiting import LONG, until

ALL_ONES = (1 << 32) - 1
DEVICE_ID, SCRATCH, STEP = (REGISTERS[name].offset for name in ("DEVICE_ID", "SCRATCH", "STEP_FAST"))
VA, BLOCK = 0x7F000000, 16384


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """One who serves and who is let in."""
    keys = remote_keys.create(tmp_path_factory.mktemp("keys") / "mine")
    remote_keys.authorize(keys.public.hex(), "me", keys.folder)
    return keys


@pytest.fixture(autouse=True)
def quick_stops(monkeypatch):
    monkeypatch.setattr(remote_server, "TICK", 0.02)


@contextmanager
def serving(mmio, keys, address="tcp://127.0.0.1:0", lock=None, **options):
    """A server in a thread; yields its address."""
    stop, up, found = threading.Event(), threading.Event(), []

    def run():
        try:
            serve(address, mmio, lock, keys, lambda at: (found.append(at), up.set()), stop, **options)
        except BaseException as error:
            found.append(error)
            up.set()
            raise

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(LONG)
    assert isinstance(found[0], str), found[0]
    if found[0].startswith("tcp:"):
        remote_keys.trust(found[0], keys.public.hex(), keys.folder)
    try:
        yield found[0]
    finally:
        stop.set()
        thread.join(LONG)
        assert not thread.is_alive()
        assert len(found) == 1, found


@contextmanager
def process(*arguments):
    """remote_process.py; yields the process and its first line."""
    command = [sys.executable, "-m", "tests.helpers.remote_process", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        try:
            yield one, one.stdout.readline().strip()
        finally:
            one.send_signal(signal.SIGCONT)
            one.kill()


@pytest.fixture(params=["unix", "tcp"])
def address(request, tmp_path):
    return f"unix:{tmp_path}/s/kvfpga.sock" if request.param == "unix" else "tcp://127.0.0.1:0"


@pytest.fixture
def fake():
    return FakeDevice()


@pytest.fixture
def remote(fake, keys):
    with serving(fake, keys) as at, RemoteMmio(at, keys) as mmio:
        yield mmio


# ---- the seam ----------------------------------------------------------------------------------------------------------
def test_every_call_answers_as_on_the_device_itself(small_sim, keys, address):
    sim, fresh = small_sim
    sim.restore(fresh)
    with serving(sim, keys, address) as at, RemoteMmio(at, keys) as mmio:
        assert (mmio.name, mmio.device_name, mmio.shared, mmio.blank_memory) == (at, "sim", False, False)
        assert mmio.read32(DEVICE_ID) == sim.read32(DEVICE_ID)
        mmio.write32(SCRATCH, 0xFFFFFFFF)
        assert sim.read32(SCRATCH) == 0xFFFFFFFF
        mmio.write64(REGISTERS["BOOST_ADDR"].offset, 0x123456789ABCDEF0)
        assert mmio.read64(REGISTERS["BOOST_ADDR"].offset) == 0x123456789ABCDEF0
        burst = mmio.read_burst(DEVICE_ID, 5)
        assert burst.dtype == np.uint32 and burst.tolist() == sim.read_burst(DEVICE_ID, 5).tolist()
        burst[0] = 0  # an array of one's own, as from any target
        mmio.write_burst(SCRATCH, [7])
        assert mmio.read32(SCRATCH) == 7
        before = mmio.clock_cycles
        batch = Batch()
        batch.clock(1000)
        batch.read64(REGISTERS["BUILD_ID"].offset)
        answer = mmio.run(batch)
        assert answer.words.dtype == np.uint32 and answer.records.dtype == np.uint64 and not answer.records.size
        assert answer.words.tolist() == sim.run(batch).words.tolist()
        assert mmio.clock_cycles > before + 2000
        assert mmio.run(Batch()).words.size == 0
        assert isinstance(mmio.wait_idle(), int) and isinstance(mmio.wait_idle(5000), int)
        data = random.Random(1).randbytes(2 * wire.MEMORY_BYTES + 77)
        mmio.memory_write(0x1003, data)
        assert sim.memory_read(0x1003, len(data)) == data == mmio.memory_read(0x1003, len(data))
        assert (mmio.memory_read(5, 0), mmio.memory_read((1 << 64) - 8, 8)) == (b"", bytes(8))
        addrs = np.arange(200, dtype=np.uint64) * np.uint64(BLOCK) + np.uint64(0x1003)
        assert (mmio.memory_read_blocks(addrs, BLOCK) == sim.memory_read_blocks(addrs, BLOCK)).all()
        assert mmio.memory_read_blocks(addrs[:0], BLOCK).shape == (0, BLOCK)
        assert mmio.memory_read_blocks(addrs[:3], 0).shape == (3, 0)
        big = mmio.memory_read_blocks(addrs[:2], wire.MEMORY_BYTES + 1)
        assert big.shape == (2, wire.MEMORY_BYTES + 1) and big[0].tobytes() == data[: wire.MEMORY_BYTES + 1]


@pytest.mark.parametrize("failing", ["socket", "monitor"])
def test_a_client_that_gets_no_more_descriptors_is_told(tmp_path, failing, monkeypatch):
    def refused(*_):
        raise zmq.ZMQError(errno.EMFILE)

    monkeypatch.setattr(*{"socket": (zmq.Context, "socket"), "monitor": (zmq.Socket, "get_monitor_socket")}[failing], refused)
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(tmp_path / "s"))
        with pytest.raises(TargetError, match="cannot connect to unix:.*: Too many open files"):
            RemoteMmio(f"unix:{tmp_path}/s")


def test_lockstep_finds_no_differences_through_it(small_sim, keys, address):
    sim, fresh = small_sim
    sim.restore(fresh)
    with serving(sim, keys, address) as at, RemoteMmio(at, keys) as mmio:
        pair = Lockstep(Device(mmio), ReferenceModel(ENTRIES))
        codes = [pair.execute(command).code for command in random_commands(4, 500)]
        pair.execute_many(list(random_commands(5, 200)))
        pair.verify()
        assert pair.differences == 0 and pair.checks >= 500
        assert len(set(codes)) >= 5 and codes.count("OK") > 250


def test_a_wrong_device_shows_through_it(remote, fake):
    pair = Lockstep(Device(remote), ReferenceModel(256))
    pair.execute(cmd.Load(1, 2, 3, 0, 31, VA))
    fake.model.execute(cmd.Hot(VA, 1))
    with pytest.raises(DifferenceError):
        pair.execute(cmd.Step(1))


def test_blocks_that_an_earlier_client_wrote_are_no_difference(fake, keys):
    """A simulation's memory is not blank for the second client: its reference has to take over what lies there."""
    with serving(fake, keys) as at:
        for _ in range(2):
            with RemoteMmio(at, keys) as mmio:
                pair = Lockstep(Device(mmio), ReferenceModel(256))
                pair.reset()
                pair.execute_many([cmd.Load(1, 0, 0, 0, 31, VA), cmd.Step(9)])
                pair.memory_write(0, b"left behind" * 100)
                pair.execute(cmd.Evict(VA, 1))
                pair.verify()


def test_the_command_line_goes_through_it(small_sim, tmp_path):
    sim, fresh = small_sim
    sim.restore(fresh)
    kv = Kvfpga(tmp_path / "session")
    with serving(sim, None, f"unix:{tmp_path}/s") as at:
        kv.options = ["--target", at, "--session", str(tmp_path / "session")]
        kv("reset")
        load = ["load", "--request", 1, "--layer", 0, "--head", 0, "--tokens", "0:31", "--va", VA]
        assert kv(*load)["checked"] and kv("step", 120)["checked"]
        assert [entry["va"] for entry in kv("dump")["entries"]] == [VA]
        kv(*load, code=1)
        sim.restore(fresh)  # somebody else resets the device
        kv("step", 121, code=3)
        assert "reset behind its back" in kv.err
    kv("step", 122, code=3)
    assert "nobody serves" in kv.err and "kvfpga serve --listen" in kv.err


# ---- errors ------------------------------------------------------------------------------------------------------------
def test_a_bus_error_comes_with_its_fields_and_position(small_sim, keys):
    sim, fresh = small_sim
    sim.restore(fresh)
    batch = Batch()
    batch.write(SCRATCH, 1)
    batch.read(0xDFFC)
    batch.write(SCRATCH, 2)
    with serving(sim, keys) as at, RemoteMmio(at, keys) as mmio:
        with pytest.raises(BusError) as there:
            mmio.run(batch)
        assert sim.read32(SCRATCH) == 1
        with pytest.raises(BusError) as here:
            sim.run(batch)
        assert vars(there.value) == vars(here.value)
        assert (there.value.offset, there.value.position, there.value.is_write) == (0xDFFC, 1, False)
        with pytest.raises(BusError) as error:
            mmio.write32(DEVICE_ID, 1)
        assert (error.value.offset, error.value.is_write, error.value.exit_code) == (DEVICE_ID, True, 3)
        assert mmio.read32(SCRATCH) == 1


@pytest.mark.parametrize("error", [
    IdleTimeout("still busy after 7 cycles", "look at STATUS"), TargetError("the link is dead"), UsageError("no", "yes"),
    SessionError("äöü", None), BusError(0x44, True, 3, "DECERR"),
])  # fmt: skip
def test_errors_travel_with_class_message_and_remedy(fake, keys, error):
    def fail(*_):
        raise error

    fake.read32 = fail
    with serving(fake, keys) as at, RemoteMmio(at, keys) as mmio:
        with pytest.raises(KvfpgaError) as caught:
            mmio.read32(4)
        assert type(caught.value) is type(error) and vars(caught.value) == vars(error) and str(caught.value) == str(error)
        assert mmio.wait_idle() == 0


def test_an_unexpected_error_is_told_and_logged(fake, keys, caplog):
    fake.wait_idle = lambda budget: 1 // 0
    with serving(fake, keys) as at, RemoteMmio(at, keys) as mmio:
        with pytest.raises(TargetError, match="unexpected error: ZeroDivisionError"):
            mmio.wait_idle()
        assert mmio.read32(DEVICE_ID) == 0x4B564350
    assert "ZeroDivisionError" in caplog.text and "WaitIdle" in caplog.text


class SecretError(TargetError):
    """A kind that errors.py does not have."""


def test_errors_of_unknown_kinds_become_the_nearest_known():
    assert type(wire.unpack_error(wire.pack_error(1, SecretError("a", "b")))) is TargetError
    for kind, fields in (("Batch", {}), ("KvfpgaErr", {}), ("BusError", {}), ("TargetError", {"exit_code": 0})):
        error = wire.unpack_error(wire.Failed(1, kind, "text", "remedy", fields))
        assert (type(error), error.message, error.remedy, error.exit_code) == (TargetError, "text", "remedy", 3)


def test_what_cannot_be_meant_is_refused_as_by_other_targets(remote):
    for wrong in (
        lambda: remote.write32(0, 1 << 32), lambda: remote.write32(0, -1), lambda: remote.memory_read(-1, 1),
        lambda: remote.memory_read((1 << 64) - 1, 2), lambda: remote.memory_write(1 << 64, b"x"),
        lambda: remote.read_burst(SPACE_BYTES, 1), lambda: remote.read_burst(0, SPACE_BYTES),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            wrong()
    for wrong in (lambda: remote.read32(1 << 32), lambda: remote.read32(-4), lambda: remote.write32(-4, 1)):
        with pytest.raises(BusError):
            wrong()
    batch = Batch()
    batch.ops.extend((OpKind.CLOCK, 0, 0, 0) * (wire.BATCH_OPS + 1))
    with pytest.raises(UsageError, match="too long for a remote target"):
        remote.run(batch)
    assert remote.wait_idle(1e300) == 0
    assert remote.read32(DEVICE_ID) == 0x4B564350


@pytest.mark.parametrize("ops, text", [
    ([9, 0, 0, 0], "unknown"), ([OpKind.READ, SPACE_BYTES - 4, 2, 0], "outside"), ([OpKind.WRITE, SPACE_BYTES, 0, 0], "outside"),
    ([OpKind.READ, 0, 0xFFFFFFFF, 0], "outside"), ([OpKind.WRITE64, SPACE_BYTES - 4, 0, 0], "outside"),
    ([OpKind.DRAIN, 0, 32, 0], "valid bit"), ([OpKind.CLOCK, 0, 0xFFFFFFFF, 0], "clock"),
    ([OpKind.READ, 0, SPACE_BYTES // 4, 0] * 3, "reads"), ([0, 0, 0], "not the operations"),
])  # fmt: skip
def test_a_batch_that_no_batch_could_be_never_reaches_the_device(remote, fake, ops, text):
    """The simulation reads operations and writes words where it is told to: whatever comes from outside is checked."""
    fake.run = lambda batch: pytest.fail("it did")
    with pytest.raises(UsageError, match=text):
        remote._link.ask(wire.Ran, wire.Run, np.array(ops, "<u4").tobytes())


def test_a_drain_without_end_costs_nobody_the_device(small_sim, keys):
    sim, fresh = small_sim
    sim.restore(fresh)
    batch = Batch()
    batch.write(SCRATCH, ALL_ONES)
    batch.drain(SCRATCH)
    with serving(sim, keys) as at:
        with RemoteMmio(at, keys) as mmio, pytest.raises(TargetError, match="do not end"):
            mmio.run(batch)
        with RemoteMmio(at, keys) as mmio:
            assert mmio.read32(SCRATCH) == ALL_ONES
            assert Device(mmio).execute(cmd.Step(3)).code == "OK"


def test_a_batch_survives_packing():
    batch = Batch()
    batch.write64(8, 0xFEDCBA9876543210)
    batch.burst(16, 5)
    batch.drain(0x40)
    batch.wait_idle()
    batch.read64(24)
    again = wire.unpack_batch(wire.pack_batch(batch))
    assert (list(again), again.words) == (list(batch), batch.words)


# ---- replies and repeats -----------------------------------------------------------------------------------------------
def test_a_late_reply_is_not_taken_for_another(keys):
    """Ctrl-C while a batch runs: its reply comes while somebody waits for the next one."""
    device = SlowDevice(0.3)
    device.stored["SCRATCH"] = 77
    with serving(device, keys) as at, RemoteMmio(at, keys) as mmio:
        real, mmio._link._receive = mmio._link._receive, lambda: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            mmio.run(step_batch(5))
        mmio._link._receive = real
        assert mmio.read32(SCRATCH) == 77
        assert device.steps == 1


def test_nothing_is_executed_twice(fake, keys, caplog):
    with serving(fake, keys) as at, raw_client(at, keys) as dealer:
        hello(dealer)
        message = wire.encode(wire.Write32(3, STEP, 9))
        for data in (message, message, wire.encode(wire.Write32(2, STEP, 10))):
            dealer.send(data)
        replies = [receive(dealer) for _ in range(3)]
        assert sum(isinstance(reply, wire.Value) for reply in replies) == 1
        assert sum(isinstance(reply, wire.Refused) for reply in replies) == 2
    assert [value for name, value in fake.writes if name == "STEP_FAST"] == [9]
    assert "request 3 behind 3" in caplog.text


def test_one_client_cannot_pile_up_requests(keys):
    device = SlowDevice(LONG)
    with serving(device, keys) as at, raw_client(at, keys) as dealer:
        hello(dealer)
        for number in range(20):
            dealer.send(wire.encode(wire.WaitIdle(number, None)))
        assert sum(isinstance(receive(dealer), wire.Refused) for _ in range(12)) == 12
        device.release.set()


def test_what_a_client_left_behind_is_not_executed(keys):
    device = SlowDevice(LONG)
    with serving(device, keys) as at:
        with raw_client(at, keys) as dealer:
            hello(dealer)
            dealer.send(wire.encode(wire.WaitIdle(0, None)))
            assert device.waiting.wait(LONG)
            for number in range(1, 5):
                dealer.send(wire.encode(wire.Write32(number, STEP, number)))
            dealer.send(wire.encode(wire.Bye()))
            with RemoteMmio(at, keys) as mmio:  # it was let in because the other one has left
                device.release.set()
                assert mmio.read32(DEVICE_ID) == 0x4B564350
    assert not device.writes


def test_threads_of_one_client_take_turns(remote, fake):
    fake.stored |= {"SCRATCH": 5}
    wrong = []

    def ask(offset, expected):
        for _ in range(100):
            if remote.read32(offset) != expected:
                wrong.append(offset)

    threads = [threading.Thread(target=ask, args=one) for one in ((SCRATCH, 5), (DEVICE_ID, 0x4B564350)) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_lock_is_held_around_each_request(fake, keys):
    lock = threading.RLock()
    with serving(fake, keys, lock=lock) as at, RemoteMmio(at, keys) as mmio:
        with lock:
            asked = threading.Thread(target=mmio.write32, args=(SCRATCH, 3))
            asked.start()
            asked.join(0.3)
            assert asked.is_alive() and "SCRATCH" not in fake.stored
        asked.join(LONG)
        assert fake.stored["SCRATCH"] == 3


# ---- keys: who gets in -------------------------------------------------------------------------------------------------
class Dealer(zmq.Socket):
    events_seen: zmq.Socket


@contextmanager
def raw_client(address, keys=None, rcvhwm=1000):
    """A DEALER that anybody could write, not ours; `keys` None: without a key. It takes `rcvhwm` messages unread."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER, socket_class=Dealer)
    dealer.linger, dealer.reconnect_ivl, dealer.rcvtimeo, dealer.rcvhwm = 0, -1, 3000, rcvhwm
    if keys and address.startswith("tcp:"):
        dealer.curve_serverkey = keys.server(address)
        dealer.curve_publickey, dealer.curve_secretkey = keys.public, keys.secret
    dealer.events_seen = dealer.get_monitor_socket()
    dealer.connect(address.replace("unix:", "ipc://"))
    try:
        yield dealer
    finally:
        context.destroy()


def hello(dealer, protocol=wire.PROTOCOL):
    dealer.send(wire.encode(wire.Hello(protocol, "0.1.0", "a test")))
    return receive(dealer)


def receive(dealer):
    while isinstance(reply := wire.decode_reply(dealer.recv()), wire.Waiting):
        pass
    return reply


def resident(pid: int, what: str) -> int:
    """Bytes of memory of a process: VmRSS, now; VmHWM, at most so far."""
    with open(f"/proc/{pid}/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def outcome(dealer) -> int:
    """How the handshake ended."""
    ends = (zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED)
    while dealer.events_seen.poll(5000):
        if (event := recv_monitor_message(dealer.events_seen)["event"]) in ends:
            return event
    return 0


@pytest.fixture
def stranger(tmp_path):
    return remote_keys.create(tmp_path / "stranger")


def test_a_key_that_is_not_in_the_list_gets_nothing(fake, keys, stranger, caplog):
    with serving(fake, keys) as at:
        remote_keys.trust(at, keys.public.hex(), stranger.folder)
        with pytest.raises(TargetError, match="does not let this client in") as error:
            RemoteMmio(at, stranger)
        assert "authorize" in error.value.remedy
        with raw_client(at, stranger) as dealer:
            dealer.send(wire.encode(wire.Hello(wire.PROTOCOL, "0.1.0", "let me in")))
            assert outcome(dealer) == zmq.EVENT_DISCONNECTED
            assert not dealer.poll(300)
        with RemoteMmio(at, keys) as mmio:
            assert mmio.read32(DEVICE_ID) == 0x4B564350
    assert f"connection from 127.0.0.1 refused: the key {stranger.public.hex()} is not in the list" in caplog.text


def test_without_a_key_one_gets_nothing(fake, keys, caplog):
    with serving(fake, keys) as at, raw_client(at) as dealer:
        dealer.send(wire.encode(wire.Hello(wire.PROTOCOL, "0.1.0", "let me in")))
        assert outcome(dealer) == zmq.EVENT_DISCONNECTED
        assert not dealer.poll(300)
        until(lambda: "a connection failed in the handshake" in caplog.text)


def test_with_another_key_for_the_server_one_gets_nothing(fake, keys, stranger, caplog):
    with serving(fake, keys) as at:
        remote_keys.trust(at, stranger.public.hex(), stranger.folder)
        remote_keys.authorize(stranger.public.hex(), "a friend", keys.folder)
        with pytest.raises(TargetError, match="ended the handshake") as error:
            RemoteMmio(at, stranger)
        assert "keys trust" in error.value.remedy
        until(lambda: "another key for this server" in caplog.text)


def test_a_socket_of_something_else_is_nobody_and_no_key_is_asked_for(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        ending = threading.Thread(target=lambda: listener.accept()[0].close())
        ending.start()
        with pytest.raises(TargetError, match="nobody serves") as error:
            RemoteMmio(f"unix:{tmp_path}/s")
        ending.join()
    assert "kvfpga serve --listen" in error.value.remedy


def test_an_imposter_in_the_servers_place_is_not_believed(fake, keys, stranger):
    remote_keys.authorize(keys.public.hex(), "the victim", stranger.folder)
    with serving(fake, stranger) as at:
        remote_keys.trust(at, keys.public.hex(), keys.folder)
        with pytest.raises(TargetError, match="its key is another one"):
            RemoteMmio(at, keys)


def test_plain_bytes_get_the_greeting_of_zeromq_and_no_more(fake, keys):
    """64 bytes that say "ZeroMQ, with CURVE": not what is served, not by which version."""
    pick = random.Random(3)
    greeting = bytes.fromhex("ff00000000000000017f") + b"\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
    null = greeting.replace(b"CURVE", b"NULL\0")
    with serving(fake, keys) as at:
        port = int(at.rpartition(":")[2])
        for sent in (
            b"", b"GET / HTTP/1.0\r\n\r\n", greeting, null, greeting + b"\x04\xc8\x05HELLO" + bytes(194), pick.randbytes(64),
            pick.randbytes(3000), b"\xff" * 100, null + b"\x04\x19\x05READY" + bytes(19), b"\x01\x00",
            b"\xff" + bytes(8) + b"\x01\x01",
        ):  # fmt: skip
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.settimeout(0.3)
                got = b""
                try:
                    line.sendall(sent)
                    while part := line.recv(1000):
                        got += part
                except OSError:
                    pass
                assert len(got) <= 64 + 2 and b"kvfpga" not in got and b"0.1.0" not in got, (sent, got)
        with RemoteMmio(at, keys) as mmio:
            assert mmio.read32(DEVICE_ID) == 0x4B564350


def test_keys_are_added_and_taken_back_while_the_server_runs(fake, keys, tmp_path):
    server = remote_keys.create(tmp_path / "server")
    with serving(fake, server) as at:
        remote_keys.trust(at, server.public.hex(), keys.folder)
        with pytest.raises(TargetError, match="does not let"):
            RemoteMmio(at, keys)
        remote_keys.authorize(keys.public.hex(), "new here", server.folder)
        with RemoteMmio(at, keys) as mmio:
            mmio.read32(DEVICE_ID)
        (server.folder / "authorized").write_text("# nobody\n")
        with pytest.raises(TargetError, match="does not let"):
            RemoteMmio(at, keys)


def test_a_list_that_became_unusable_lets_nobody_in(fake, keys, tmp_path, caplog):
    server = remote_keys.create(tmp_path / "server")
    remote_keys.authorize(keys.public.hex(), "me", server.folder)
    with serving(fake, server) as at:
        remote_keys.trust(at, server.public.hex(), keys.folder)
        (server.folder / "authorized").chmod(0o666)
        with pytest.raises(TargetError, match="does not let"):
            RemoteMmio(at, keys)
        assert "can be written by others" in caplog.text


def test_what_goes_over_the_line_is_encrypted(fake, keys):
    """A relay between the two sees neither the data nor the kind of a request."""
    seen = bytearray()
    secret = b"a secret of 24 bytes ..."

    def pump(source, sink):
        try:
            while part := source.recv(65536):
                seen.extend(part)
                sink.sendall(part)
        except OSError:
            pass

    with serving(fake, keys) as at, socket.create_server(("127.0.0.1", 0)) as relay:
        fake.memory_write(0, secret)

        def connect():
            client, _ = relay.accept()
            server = socket.create_connection(("127.0.0.1", int(at.rpartition(":")[2])))
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            pump(server, client)

        threading.Thread(target=connect, daemon=True).start()
        through = f"tcp://127.0.0.1:{relay.getsockname()[1]}"
        remote_keys.trust(through, keys.public.hex(), keys.folder)
        with RemoteMmio(through, keys) as mmio:
            assert mmio.memory_read(0, len(secret)) == secret
            mmio.memory_write(64, secret)
    assert b"CURVE" in seen and len(seen) > 500
    for word in (secret, b"Memory", b"Hello", b"Welcome", b"0.1.0", b"fake"):
        assert word not in seen


# ---- key files ---------------------------------------------------------------------------------------------------------
def test_key_files_are_for_their_owner_alone(tmp_path):
    os.umask(os.umask(0))
    made = remote_keys.create(tmp_path / "k")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "k" / "key").stat().st_mode) == 0o600
    assert remote_keys.load(tmp_path / "k") == made
    assert made.secret.hex() not in repr(made) and len(made.secret) == len(made.public) == 32
    remote_keys.authorize(made.public.hex(), "me", tmp_path / "k")
    assert stat.S_IMODE((tmp_path / "k" / "authorized").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o777])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    remote_keys.create(tmp_path)
    (tmp_path / "key").chmod(mode)
    with pytest.raises(TargetError, match="can be read or written by others") as error:
        remote_keys.load(tmp_path)
    assert f"chmod 600 {tmp_path}/key" in error.value.remedy


def test_bad_key_files_say_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(TargetError, match="no key") as error:
        remote_keys.load(tmp_path)
    assert "kvfpga keys create" in error.value.remedy
    made = remote_keys.create(tmp_path)
    with pytest.raises(UsageError, match="already"):
        remote_keys.create(tmp_path)
    assert remote_keys.load(tmp_path) == made
    for text in ("", "public aa\nsecret bb\n", f"secret {made.secret.hex()}\n", "\xff\xfe"):
        (tmp_path / "key").write_text(text)
        with pytest.raises(TargetError, match="damaged"):
            remote_keys.load(tmp_path)
    (tmp_path / "key").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(TargetError, match="cannot read"):
        remote_keys.load(tmp_path)
    with pytest.raises(TargetError, match="key of the server tcp://lab:1 is not known") as error:
        made.server("tcp://lab:1")
    assert "kvfpga keys trust tcp://lab:1" in error.value.remedy
    for key in ("", "abc", "g" * 64, "a" * 65):
        with pytest.raises(UsageError, match="is not a key"):
            remote_keys.authorize(key, "x", tmp_path)
    for name in ("", "#", "a\nb", "x" * 200):
        with pytest.raises(UsageError, match="not a name"):
            remote_keys.authorize("a" * 64, name, tmp_path)
    (tmp_path / "authorized").write_text("not a key at all\n")
    with pytest.raises(UsageError, match="authorized:1: 'not' is not a key"):
        made.authorized()
    blocked = tmp_path / "a file"
    blocked.write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        remote_keys.create(blocked / "k")
    monkeypatch.setenv("KVFPGA_KEYS", str(tmp_path / "elsewhere"))
    assert remote_keys.create().folder == tmp_path / "elsewhere" == remote_keys.load().folder


def test_lists_keep_what_people_wrote(tmp_path):
    one, two = "a" * 64, "B" * 64
    (tmp_path / "authorized").write_text(f"# the lab\n{one} Ada L.\n\n")
    remote_keys.authorize(two, "Grace", tmp_path)
    remote_keys.authorize(one, "again", tmp_path)
    keys = remote_keys.Keys(tmp_path, b"", b"")
    assert keys.authorized() == {bytes.fromhex(one): "Ada L.", bytes.fromhex(two): "Grace"}
    assert (tmp_path / "authorized").read_text().startswith("# the lab\n")
    remote_keys.trust("tcp://lab:1", one, tmp_path)
    remote_keys.trust("tcp://lab:2", one, tmp_path)
    remote_keys.trust("tcp://lab:1", two, tmp_path)
    assert (keys.server("tcp://lab:1"), keys.server("tcp://lab:2")) == (bytes.fromhex(two), bytes.fromhex(one))
    with pytest.raises(UsageError, match="no such address"):
        remote_keys.trust("lab", one, tmp_path)


# ---- addresses and the socket of the owner -----------------------------------------------------------------------------
@pytest.mark.parametrize("address", [
    "unix:", "unix:\0", "tcp://", "tcp://host", "tcp://host:70000", "tcp://ho st:1", "tcp://host:1/x", "http://host:1", "x",
    "unix:" + "x" * 200, "tcp://*:99999",
])  # fmt: skip
def test_addresses_that_are_none(address, keys, fake):
    with pytest.raises(UsageError):
        RemoteMmio(address, keys)
    with pytest.raises(UsageError):
        serve(address, fake, None, keys)


def test_ipv6(fake, keys):
    with serving(fake, keys, "tcp://[::1]:0") as at, RemoteMmio(at, keys) as mmio:
        assert at.startswith("tcp://[::1]:") and mmio.read32(DEVICE_ID) == 0x4B564350


def test_the_unix_socket_is_its_owners(fake, tmp_path):
    path = tmp_path / "new" / "kvfpga.sock"
    old = os.umask(0)
    try:
        with serving(fake, None, f"unix:{path}") as at:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            with RemoteMmio(at) as mmio:
                assert mmio.read32(DEVICE_ID) == 0x4B564350
    finally:
        os.umask(old)
    assert not path.exists()


def test_another_user_gets_nothing_even_past_the_permissions(fake, tmp_path, monkeypatch, caplog):
    with serving(fake, None, f"unix:{tmp_path}/s") as at:
        with pytest.raises(TargetError, match="another user's"), monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: 12345)
            RemoteMmio(at)
        monkeypatch.setattr(os, "geteuid", lambda: 12345)  # now the server is somebody else
        with raw_client(at) as dealer:
            assert outcome(dealer) == zmq.EVENT_DISCONNECTED
            assert not dealer.poll(300)
        monkeypatch.undo()
        assert "refused: another user" in caplog.text


def test_places_that_are_taken(fake, tmp_path, keys, caplog):
    path = tmp_path / "s"
    with serving(fake, None, f"unix:{path}"):
        with pytest.raises(TargetError, match="somebody else serves"):
            serve(f"unix:{path}", fake)
        until(lambda: "failed in the handshake: it hung up" in caplog.text)  # who looked; a socket in the file system has no keys
        with RemoteMmio(f"unix:{path}") as mmio:
            mmio.read32(DEVICE_ID)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(TargetError, match="nobody serves"):
        RemoteMmio(f"unix:{path}")
    with serving(fake, None, f"unix:{path}") as at, RemoteMmio(at) as mmio:  # what a killed server left is no obstacle
        mmio.read32(DEVICE_ID)
    path.write_text("precious")
    with pytest.raises(UsageError, match="is not a socket"):
        serve(f"unix:{path}", fake)
    with pytest.raises(TargetError, match="is not a socket"):
        RemoteMmio(f"unix:{path}")
    assert path.read_text() == "precious"
    with pytest.raises(TargetError, match="cannot listen"):
        serve(f"unix:{path}/x", fake)
    with serving(fake, keys) as at, pytest.raises(TargetError, match="cannot listen"):
        serve(at, fake, None, keys)
    with pytest.raises(TargetError, match="nobody serves"):
        RemoteMmio(at, keys)
    with pytest.raises(TargetError, match="nobody serves"):
        RemoteMmio(f"unix:{tmp_path}/none")
    with pytest.raises(UsageError, match="make no sense"):
        serve("tcp://127.0.0.1:0", fake, None, keys, shared=True, most=0)


def test_a_server_that_is_silent_is_given_up(keys, monkeypatch):
    monkeypatch.setattr("kvfpga.transport.remote.link.CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        remote_keys.trust(at, keys.public.hex(), keys.folder)
        with pytest.raises(TargetError, match="nobody serves"):
            RemoteMmio(at, keys)


# ---- the queue ---------------------------------------------------------------------------------------------------------
class Visitor(threading.Thread):
    """A client in a thread: comes, notes what it is told, does one access, stays until `leave`."""

    def __init__(self, address, keys, order, wait=LONG):
        super().__init__(daemon=True)
        self.told, self.leave, self.arguments, self.order, self.error = [], threading.Event(), (address, keys, wait), order, None
        self.start()

    def run(self):
        try:
            with RemoteMmio(*self.arguments, self.told.append) as mmio:
                self.order.append(self)
                mmio.read32(DEVICE_ID)
                self.leave.wait(LONG)
        except KvfpgaError as error:
            self.error = error


def test_exclusive_clients_wait_in_order_and_are_told_their_place(fake, keys, address):
    order = []
    with serving(fake, keys, address) as at:
        visitors = []
        for n in range(4):
            visitors.append(Visitor(at, keys, order))
            until(lambda n=n: order if n == 0 else visitors[n].told)
        assert order == visitors[:1]
        assert [v.told for v in visitors] == [[], *([f"waiting for {at}: place {n} in the queue"] for n in (1, 2, 3))]
        for n in range(4):
            until(lambda n=n: len(order) == n + 1)
            visitors[n].leave.set()
        for visitor in visitors:
            visitor.join(LONG)
        assert order == visitors
        assert [text.split()[4] for text in visitors[3].told] == ["3", "2", "1"]


def test_patience_ends_and_the_place_in_the_queue_is_given_back(fake, keys):
    with serving(fake, keys) as at, RemoteMmio(at, keys) as holder:
        with pytest.raises(TargetError, match=r"in use; place 1 in the queue after 0 s"):
            RemoteMmio(at, keys, wait=0)
        with pytest.raises(TargetError, match=r"in use; place 1 in the queue after 0.2 s"):
            RemoteMmio(at, keys, wait=0.2)
        assert holder.read32(DEVICE_ID) == 0x4B564350


def test_a_full_queue_turns_away(fake, keys):
    with serving(fake, keys, waiting=1) as at, RemoteMmio(at, keys):
        second = Visitor(at, keys, [])
        until(lambda: second.told)
        with pytest.raises(TargetError, match="with 1 waiting already") as error:
            RemoteMmio(at, keys)
        assert error.value.remedy == "try again later"
        second.leave.set()


def test_places_are_told_while_the_device_is_busy(keys):
    """The server's loop never waits for the device."""
    device = SlowDevice(LONG)
    with serving(device, keys) as at, RemoteMmio(at, keys) as holder:
        busy = threading.Thread(target=holder.run, args=(step_batch(1),))
        busy.start()
        assert device.waiting.wait(LONG)
        with pytest.raises(TargetError, match="in use; place 1"):
            RemoteMmio(at, keys, wait=0)
        assert busy.is_alive(), "it was told while the device was busy"
        device.release.set()
        busy.join()


def test_shared_clients_take_turns_and_see_each_other(fake, keys):
    with serving(fake, keys, shared=True, most=2) as at, RemoteMmio(at, keys) as one, RemoteMmio(at, keys) as other:
        assert one.shared and other.shared
        pair = Lockstep(Device(one), ReferenceModel(256))
        pair.execute(cmd.Load(1, 0, 0, 0, 31, VA))
        Device(other).execute(cmd.Hot(VA, 1))
        with pytest.raises(DifferenceError):
            pair.execute(cmd.Step(1))
        with pytest.raises(TargetError, match="in use"):
            RemoteMmio(at, keys, wait=0)
        codes = []

        def load(device, first):
            for n in range(first, first + 20):
                codes.append(device.execute(cmd.Load(2, 0, 0, 32 * n, 32 * n + 31, VA + n * BLOCK)).code)

        threads = [threading.Thread(target=load, args=(Device(m), n)) for m, n in ((one, 100), (other, 200))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == ["OK"] * 40  # a batch is never torn: each found its own result
        assert fake.model.telemetry()["valid_entries"] == 41


# ---- dying -------------------------------------------------------------------------------------------------------------
def test_a_client_killed_in_a_batch_gives_its_place_back(keys, address, caplog):
    caplog.set_level(logging.INFO)
    device = SlowDevice(LONG)
    with serving(device, keys, address) as at, process("hold", at, keys.folder) as (client, line):
        assert line == "in"
        assert device.waiting.wait(LONG)
        order = []
        next_one = Visitor(at, keys, order)
        until(lambda: next_one.told)
        client.kill()
        client.wait()
        device.release.set()
        until(lambda: order)
        next_one.leave.set()
        next_one.join(LONG)
        assert next_one.error is None
        assert device.steps == 1, "its batch ran to the end, and no other one after it"
    assert "is gone without a goodbye" in caplog.text


def test_a_frozen_client_gives_its_place_back(keys):
    with serving(SlowDevice(0.05), keys) as at, process("hold", at, keys.folder) as (client, line):
        assert line == "in"
        client.send_signal(signal.SIGSTOP)
        with RemoteMmio(at, keys, wait=LONG) as mmio:
            assert mmio.read32(DEVICE_ID) == 0x4B564350
        client.send_signal(signal.SIGCONT)
        client.wait(LONG)
        assert "is gone" in client.stderr.read()


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_server_that_dies_is_a_clear_error(keys, address, deadly):
    with process("serve", address, keys.folder, 30) as (server, at):
        if at.startswith("tcp:"):
            remote_keys.trust(at, keys.public.hex(), keys.folder)
        with RemoteMmio(at, keys) as mmio:
            assert mmio.read32(DEVICE_ID) == 0x4B564350
            threading.Timer(0.3, server.send_signal, [deadly]).start()
            with pytest.raises(TargetError, match="is gone: it was killed, or the connection was cut") as error:
                mmio.run(step_batch(1))  # would take 30 s
            assert "kvfpga sync" in error.value.remedy
            server.send_signal(signal.SIGCONT)  # it could answer again, where it was only frozen
            with pytest.raises(TargetError, match="is gone"):
                mmio.read32(DEVICE_ID)


def test_who_forgets_to_close_is_not_stuck(fake, keys):
    """Collected in a cycle, where ZeroMQ's own order of closing does not hold."""
    with serving(fake, keys) as at:
        for _ in range(3):
            lost = [RemoteMmio(at, keys)]
            lost.append(lost)
            del lost
            gc.collect()
        with RemoteMmio(at, keys, wait=5) as mmio:
            mmio.read32(DEVICE_ID)


def test_a_server_that_ends_says_so(keys, address):
    device = SlowDevice()
    with serving(device, keys, address) as at:
        mmio = RemoteMmio(at, keys)
    with pytest.raises(TargetError, match="is gone: it was ended"):
        mmio.read32(DEVICE_ID)
    mmio.close()
    mmio.close()
    with pytest.raises(TargetError, match="gone"):
        mmio.read32(DEVICE_ID)


def test_sigterm_lets_the_running_batch_end(keys):
    with process("serve", "tcp://127.0.0.1:0", keys.folder, 1) as (server, at):
        remote_keys.trust(at, keys.public.hex(), keys.folder)
        with RemoteMmio(at, keys) as mmio:
            threading.Timer(0.3, server.terminate).start()
            with pytest.raises(TargetError, match="it was ended"):
                mmio.run(step_batch(1))
        assert server.wait(LONG) == 0


# ---- who harms the server ----------------------------------------------------------------------------------------------
def test_a_client_that_never_reads_is_cut_off(fake, keys, address, caplog, monkeypatch):
    """Its answers stay in the server: so much of them, and no more."""
    monkeypatch.setattr(remote_server, "UNREAD_BYTES", 1 << 20)
    counts, counting = remote_server.Client.unread, set()
    monkeypatch.setattr(
        remote_server.Client, "unread", lambda client: counting.add(threading.current_thread().name) or counts(client)
    )
    with serving(fake, keys, address) as at:
        with raw_client(at, keys, rcvhwm=1) as dealer:
            hello(dealer)
            fake.run = lambda batch: BatchResult(np.zeros(1 << 20, np.uint32), np.zeros(0, np.uint64))
            numbers = itertools.count()

            def asked_until_it_is_cut_off():
                with suppress(zmq.Again):
                    dealer.send(wire.encode(wire.Run(next(numbers), b"")), zmq.NOBLOCK)
                return "cut off" in caplog.text

            until(asked_until_it_is_cut_off)
            assert "of answers are not read, at most 1,048,576" in caplog.text
            assert counting == {"kvfpga device"}, "a deque that one thread appends to may be counted by no other"
        with RemoteMmio(at, keys) as mmio:
            assert mmio.read32(DEVICE_ID) == 0x4B564350


def test_the_memory_of_a_server_whose_clients_never_read(keys, address):
    """Four of them, one after the other: what one leaves unread goes with it. Measured beside the server, as its owner would."""
    with process("serve", address, keys.folder) as (server, at):
        os.set_blocking(server.stderr.fileno(), False)
        if at.startswith("tcp:"):
            remote_keys.trust(at, keys.public.hex(), keys.folder)
        before = resident(server.pid, "VmRSS")

        def asked_until_it_is_cut_off():
            nonlocal said
            with suppress(zmq.Again):
                dealer.send(wire.encode(wire.MemoryRead(next(numbers), 0, wire.MEMORY_BYTES)), zmq.NOBLOCK)
            with suppress(BlockingIOError):
                said += os.read(server.stderr.fileno(), 10000)
            return b"of answers are not read" in said

        for _ in range(4):
            said = b""
            with raw_client(at, keys, rcvhwm=1) as dealer:
                hello(dealer)
                numbers = itertools.count()
                until(asked_until_it_is_cut_off)
        with RemoteMmio(at, keys, wait=LONG) as mmio:
            assert mmio.read32(DEVICE_ID) == 0x4B564350
        assert resident(server.pid, "VmHWM") - before < 64 << 20


def test_a_client_that_leaves_no_room_for_an_answer_is_cut_off(fake, keys, address, caplog, monkeypatch):
    """Refusals fill its place, as it asks for more than may wait: an answer that it could not get would be lost unsaid."""
    monkeypatch.setattr(remote_server, "UNREAD_BYTES", 1 << 40)
    caplog.set_level(logging.INFO, "kvfpga.remote")
    with serving(fake, keys, address) as at, raw_client(at, keys, rcvhwm=1) as dealer:
        hello(dealer)
        numbers = itertools.count()

        def asked_until_it_is_cut_off():
            with suppress(zmq.Again):
                for _ in range(100):
                    dealer.send(wire.encode(wire.MemoryRead(next(numbers), 0, wire.MEMORY_BYTES)), zmq.NOBLOCK)
            return "was cut off" in caplog.text

        until(asked_until_it_is_cut_off)


def test_a_message_of_endless_frames_is_cut_off(fake, keys, caplog, monkeypatch):
    monkeypatch.setattr(remote_server, "UNFINISHED_BYTES", 1 << 20)
    with serving(fake, keys) as at, RemoteMmio(at, keys, wait=LONG) as mmio:
        with raw_client(at, keys) as dealer:
            assert isinstance(hello(dealer), wire.Place)
            for _ in range(400):
                dealer.send(bytes(1 << 20), zmq.SNDMORE)
            dealer.send(b"")
            until(lambda: "of a message without an end, at most 1,048,576" in caplog.text)
        assert mmio.read32(DEVICE_ID) == 0x4B564350


def test_requests_that_wait_are_bounded_in_bytes(keys, monkeypatch, caplog):
    monkeypatch.setattr(remote_server, "UNDONE_BYTES", 3 << 20)
    device = SlowDevice(LONG)
    with serving(device, keys) as at, raw_client(at, keys) as dealer:
        hello(dealer)
        dealer.send(wire.encode(wire.WaitIdle(0, None)))
        for number in range(1, 4):
            dealer.send(wire.encode(wire.MemoryWrite(number, 0, bytes(wire.MEMORY_BYTES))))
        assert "bytes of requests wait already, at most 3,145,728" in receive(dealer).message
        device.release.set()


def test_more_connections_than_the_most_are_cut(fake, keys, monkeypatch, caplog):
    monkeypatch.setattr(remote_server, "CONNECTIONS", 3)
    with serving(fake, keys) as at, RemoteMmio(at, keys) as mmio:
        where = ("127.0.0.1", int(at.rpartition(":")[2]))
        with socket.create_connection(where), socket.create_connection(where), socket.create_connection(where) as last:
            last.settimeout(LONG)
            while last.recv(1000):
                pass
            assert mmio.read32(DEVICE_ID) == 0x4B564350
        mmio.close()
        with RemoteMmio(at, keys, wait=LONG) as again:
            assert again.read32(DEVICE_ID) == 0x4B564350, "the ended ones do not count"
    assert "there are 3 already, which is the most" in caplog.text


def test_who_asks_for_nothing_loses_its_place_to_who_waits(fake, keys, monkeypatch):
    monkeypatch.setattr(remote_server, "IDLE_SECONDS", 0.3)
    with serving(fake, keys) as at, RemoteMmio(at, keys) as idle, RemoteMmio(at, keys, wait=LONG) as next_one:
        assert next_one.read32(DEVICE_ID) == 0x4B564350
        with pytest.raises(TargetError, match=r"nothing asked for \d+ s, at most 0 while others wait") as error:
            idle.read32(DEVICE_ID)
        assert error.value.remedy == "connect again"


class EndlessDevice(FakeDevice):
    """A batch takes for ever; `began` once one runs."""

    def __init__(self):
        super().__init__(256)
        self.began = threading.Event()

    def _run_one(self, op, words, records):
        while True:
            self.began.set()
            self._go_on()


def test_the_batch_of_a_client_that_is_gone_is_cut_off(keys, monkeypatch):
    monkeypatch.setattr(remote_server, "ORPHAN_SECONDS", 0.2)
    device = EndlessDevice()
    with serving(device, keys) as at:
        with raw_client(at, keys) as dealer:
            hello(dealer)
            dealer.send(wire.encode(wire.Run(1, wire.pack_batch(step_batch(1)))))
            assert device.began.wait(LONG)
        with RemoteMmio(at, keys, wait=LONG) as mmio:
            assert mmio.read32(DEVICE_ID) == 0x4B564350


def test_a_server_that_ends_cuts_an_endless_batch_off(keys, monkeypatch):
    monkeypatch.setattr(remote_server, "STOP_SECONDS", 0.2)
    device = EndlessDevice()
    with serving(device, keys) as at, raw_client(at, keys) as dealer:
        hello(dealer)
        dealer.send(wire.encode(wire.Run(1, wire.pack_batch(step_batch(1)))))
        assert device.began.wait(LONG)
    assert device.unwanted is None, "the worker has ended"


def test_memory_that_is_written_far_apart_is_bounded(small_sim, keys):
    sim, fresh = small_sim
    sim.restore(fresh)
    bound = (sim.memory_counters()["pages"] + 8) * 4096
    try:
        with serving(sim, keys, memory=bound) as at, RemoteMmio(at, keys) as mmio:
            for n in range(8):
                mmio.memory_write((1 << 60) + (n << 40), b"x")
            with pytest.raises(TargetError, match=r"no room for 1 bytes at 0x2000000000000000: .*has grown to"):
                mmio.memory_write(1 << 61, b"x")
            mmio.memory_write((1 << 60) + 1, b"what is there may be written")
            assert mmio.memory_read(1 << 61, 1) == bytes(1)
    finally:
        sim.bound_memory((1 << 64) - 1)


def test_a_clock_that_runs_for_nobody_is_cut_off(small_sim, keys, monkeypatch):
    monkeypatch.setattr(remote_server, "STOP_SECONDS", 0.0)
    sim, fresh = small_sim
    sim.restore(fresh)
    batch = Batch()
    batch.clock(wire.BATCH_CLOCKS)
    before = sim.clock_cycles
    with serving(sim, keys) as at, raw_client(at, keys) as dealer:
        hello(dealer)
        dealer.send(wire.encode(wire.Run(1, wire.pack_batch(batch))))
        until(lambda: sim.clock_cycles > before)
    assert sim.clock_cycles - before < wire.BATCH_CLOCKS


def test_a_request_for_which_there_is_no_memory_is_an_error(fake, keys):
    def refuse(addr, data):
        raise MemoryError

    fake.memory_write = refuse
    with serving(fake, keys) as at, RemoteMmio(at, keys) as mmio:
        with pytest.raises(TargetError, match="not enough memory for this MemoryWrite"):
            mmio.memory_write(0, b"x")
        assert mmio.read32(DEVICE_ID) == 0x4B564350


# ---- what does not belong there ----------------------------------------------------------------------------------------
def test_another_version_is_told_with_the_remedy(fake, keys, monkeypatch, caplog):
    with serving(fake, keys) as at:
        monkeypatch.setattr("kvfpga.transport.remote.link.PROTOCOL", 2)
        with pytest.raises(TargetError, match="the server speaks protocol 1 .*, the client 2") as error:
            RemoteMmio(at, keys)
        assert "use the same on both sides" in error.value.remedy
        with raw_client(at, keys) as dealer:  # one that we cannot know yet
            dealer.send(msgspec.msgpack.encode(["Hello", 9, "7.0", "from the future", {"new": 1}, 2]))
            assert receive(dealer).protocol == 1
            dealer.send(msgspec.msgpack.encode(["Hello", 9, "7\nWARNING forged", "me\nWARNING forged"]))
            dealer.send(msgspec.msgpack.encode(["\nWARNING forged"]))
            assert receive(dealer) and receive(dealer)
    assert "protocol 1" in caplog.text and "'from the future'" in caplog.text
    assert not [line for line in caplog.text.splitlines() if line.startswith("WARNING forged")]


def garbage(pick: random.Random, count: int):
    """Messages, as frames, that mean nothing or cannot be meant."""
    good = [
        wire.encode(m) for m in (
            wire.Hello(1, "x", "y"), wire.Run(1, wire.pack_batch(step_batch(1))), wire.Write32(2, 4, 5), wire.WaitIdle(3, 1.5),
            wire.MemoryWrite(4, 5, b"x" * 100), wire.MemoryReadBlocks(5, bytes(80), 64), wire.ReadBurst(6, 0, 4),
        )
    ]  # fmt: skip
    values = (-1, 1 << 63, (1 << 64) - 1, 1e308, float("nan"), None, "text", b"bytes", [], {}, True, [[[]]], "x" * 5000)
    kinds = [kind.__name__ for kind in wire.Access.__args__] + ["Hello", "Bye!", "Welcome", "Failed", "", 7, None]
    yield []
    yield [b""]
    yield [b"\x91" * 100_000]
    yield [b"\xdd\xff\xff\xff\xff"]
    yield [b"\xc6\xff\xff\xff\xff"]
    for _ in range(count):
        match pick.randrange(5):
            case 0:
                yield [pick.randbytes(pick.randrange(200))]
            case 1:
                data = bytearray(pick.choice(good))
                for _ in range(pick.randrange(1, 4)):
                    data[pick.randrange(len(data))] = pick.randrange(256)
                yield [bytes(data)]
            case 2:
                data = pick.choice(good)
                yield [data[: pick.randrange(len(data))]]
            case 3:
                yield [msgspec.msgpack.encode([pick.choice(kinds), *pick.choices(values, k=pick.randrange(5))])]
            case 4:
                yield [pick.choice(good) for _ in range(pick.randrange(2, 6))]


@pytest.mark.parametrize("inside", [False, True], ids=["before Hello", "with a place"])
def test_garbage_neither_ends_the_server_nor_floods_the_log(fake, keys, caplog, monkeypatch, inside):
    """A clock that stands still; then it goes on, and what was left out is told."""
    clock = [0.0]
    monkeypatch.setattr(remote_server, "_now", lambda: clock[0])
    caplog.set_level(logging.WARNING)
    pick = random.Random(8)
    with serving(fake, keys, shared=True) as at:
        with raw_client(at, keys) as dealer:
            if inside:
                assert isinstance(hello(dealer), wire.Welcome)
            for frames in garbage(pick, 2000):
                if frames:
                    dealer.send_multipart(frames)
                while dealer.poll(0):
                    wire.decode_reply(dealer.recv())
            with RemoteMmio(at, keys) as mmio:
                assert mmio.read32(DEVICE_ID) == 0x4B564350
            lines = [record.message for record in caplog.records if record.name == "kvfpga.remote"]
            assert len(lines) == remote_server.LOG_LINES
            assert "a message that means nothing" in caplog.text and "frames instead of one" in caplog.text
            clock[0] += 1 + remote_server.LOG_SECONDS
            dealer.send(b"once more")
            until(lambda: "more lines like these were left out" in caplog.text)


def test_a_frame_that_is_too_large_is_not_even_received(fake, keys, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    with serving(fake, keys, shared=True) as at, RemoteMmio(at, keys) as other:
        with raw_client(at, keys) as dealer:
            hello(dealer)
            monkeypatch.setattr(remote_server.wire, "decode_request", lambda data: pytest.fail("it was decoded"))
            dealer.send(bytes(wire.MESSAGE_BYTES + 1))
            assert outcome(dealer) == zmq.EVENT_HANDSHAKE_SUCCEEDED and outcome(dealer) == zmq.EVENT_DISCONNECTED
            until(lambda: "its frame was too large" in caplog.text)
            monkeypatch.undo()
        assert other.read32(DEVICE_ID) == 0x4B564350


def test_messages_out_of_turn_are_refused(fake, keys):
    with serving(fake, keys) as at, RemoteMmio(at, keys), raw_client(at, keys) as dealer:
        dealer.send(wire.encode(wire.Read32(1, DEVICE_ID)))
        assert "before Hello" in receive(dealer).message
        assert hello(dealer) == wire.Place(1)
        dealer.send(wire.encode(wire.Read32(1, DEVICE_ID)))
        assert "before its turn" in receive(dealer).message
        assert "second Hello" in hello(dealer).message
    assert not fake.writes


@pytest.mark.parametrize("name", ["key", "authorized"])
def test_a_pipe_or_a_file_without_end_is_no_key_file(tmp_path, name):
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(tmp_path / name)
        with pytest.raises(TargetError, match=f"cannot read .*{name}"):
            remote_keys.load(tmp_path) if name == "key" else remote_keys.Keys(tmp_path, b"", b"").authorized()
        (tmp_path / name).unlink()
