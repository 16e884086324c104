"""The host's side of the UART bridge over a pty, against fake_bridge.py: frames, programs, exactly once on a bad line, and what
is said when it does not work. No RTL here; test_uart_rtl.py and test_virtual_uart.py have it.

What takes how long is tested with `turned`, on a clock that only the host's waiting turns."""

from __future__ import annotations

import fcntl
import grp  # noqa: F401  (uart/port.py needs it where a permission is missing; nobody may not read Python's own library)
import os
import random
import struct
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager
from zlib import crc32

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvfpga.contract.commands import Evict, Load, Step
from kvfpga.contract.errors import BusError, IdleTimeout, TargetError, UsageError
from kvfpga.device.device import Device
from kvfpga.transport import mmio as seam
from kvfpga.transport.mmio import SPACE_BYTES, Batch
from kvfpga.transport.uart import link as uart_link
from kvfpga.transport.uart import port as uart_port
from kvfpga.transport.uart.frames import Decoder, Frame, encode
from kvfpga.transport.uart.port import SerialPort, users
from kvfpga.uart_bridge import UartBridge
from tests.helpers.fake_bridge import HELLO, RUN, STATS, FakeBridge, Registers, TurnedBridge, frame
from tests.helpers.fake_device import FakeDevice
from tests.transport.test_mmio import (  # the seam's own tests, run here with the fixture `mmio` below
    PlainMmio,
    test_64_bit_accesses,  # noqa: F401
    test_batch_runs_again,  # noqa: F401
    test_bus_error_in_a_batch_says_where,  # noqa: F401
    test_empty_batch,  # noqa: F401
    test_error_within_a_burst_names_the_word,  # noqa: F401
    test_order_of_accesses_is_the_order_of_effects,  # noqa: F401
    test_recording_replays_without_a_difference,  # noqa: F401
    test_write_error_in_a_batch_says_where,  # noqa: F401
)

pytestmark = pytest.mark.timeout(60)

SOON = 2.0
"""Seconds within which somebody learns why there is no connection."""
PATIENT = 30.0
"""Seconds: this machine may have other work."""
QUEUE, HIGH, NOWHERE, FAR = 0x100, 0x104, 0x200, 0x1000
"""Of `Registers`: its records, the latched half of one, an offset that answers SLVERR, one that answers DECERR."""
RECORD = 1 << 31
quick = settings(deadline=None, max_examples=150, database=None)


@pytest.fixture
def board():
    with FakeBridge(Registers()) as board:
        yield board


@pytest.fixture
def uart(board):
    with UartBridge(board.port, patience=PATIENT) as uart:
        yield uart


@pytest.fixture
def turned(monkeypatch):
    """A bridge whose clock the host's waiting turns, in the place of every port."""
    board = TurnedBridge(Registers())
    monkeypatch.setattr(uart_link, "SerialPort", board.open_port)
    return board


@pytest.fixture
def unhurried(monkeypatch):
    """Connecting that takes its time before it gives up: for answers that come, from another thread or process."""
    monkeypatch.setattr(uart_link, "CONNECT_SECONDS", 6.0)
    monkeypatch.setattr(uart_link, "HELLO_SECONDS", 1.0)


@pytest.fixture
def mmio():
    """For the seam's tests."""
    with FakeBridge(PlainMmio()) as board, UartBridge(board.port) as uart:
        uart.registers, uart.queue, uart.memory = board.mmio.registers, board.mmio.queue, board.mmio.memory
        yield uart


@contextmanager
def told(match: str, remedy: str = "", kind=TargetError):
    """An error of this kind comes, says this, ends a command with 3, and knows a remedy."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert caught.value.exit_code == 3
    assert caught.value.remedy and remedy in caught.value.remedy


def programs(board) -> list[bytes]:
    """Bodies of the RUNs that came, each once; and by the way, that no sequence number ever stood for two programs."""
    bodies: dict[tuple[int, int], bytes] = {}
    order: list[tuple[int, int]] = []
    found = []
    for kind, session, sequence, body in board.frames:
        if kind != RUN:
            continue
        key = session, sequence
        if key not in order[-4:]:  # a line that doubles what it carries may bring an earlier one once more
            assert sequence == (0 if not order or session != order[-1][0] else (order[-1][1] + 1) % 256)
            order.append(key)
            found.append(body)
            bodies[key] = body
        assert bodies[key] == body
    return found


def reply_with(board, body: bytes, kind: int = 0x80 | RUN):
    """From now on the bridge says this, whatever it is asked."""
    board.damage = lambda direction, data: frame(kind, *board.named, body) if direction == "out" else data


# ---- frames ---------------------------------------------------------------------------------------------------------

flags = st.sampled_from((0x7E, 0x7D, 0x5E, 0x5D, 0x00))
bodies = st.lists(flags | st.integers(0, 255), max_size=60).map(bytes)
frames = st.builds(Frame, st.integers(0, 255), st.integers(0, 0xFFFF), flags | st.integers(0, 255), bodies)


def test_a_frame_on_the_wire():
    assert encode(Frame(HELLO, 0x7E7D, 5, b"KVUB\x01")) == bytes.fromhex("7e 01 7d5d 7d5e 05 4b565542 01 05 76c734 7e")
    assert encode(Frame(0x83, 0x0102, 0x7E)) == frame(0x83, 0x0102, 0x7E)


@quick
@given(frames)
def test_frames_are_those_of_the_specification(one):
    assert encode(one) == frame(*one)
    assert 0x7E not in encode(one)[1:-1]


@quick
@given(st.lists(frames, max_size=4), st.randoms(use_true_random=False), st.booleans())
def test_frames_come_out_as_they_went_in(wanted, chance, shared):
    """In any chunks, also where one flag ends a frame and begins the next."""
    line = b"".join(map(encode, wanted))
    if shared:
        line = line.replace(b"\x7e\x7e", b"\x7e")
    decoder, found = Decoder(), []
    while line:
        cut = chance.randint(1, len(line) if chance.random() < 0.5 else min(3, len(line)))
        found += decoder.feed(line[:cut])
        line = line[cut:]
    assert found == wanted
    assert not decoder.unfinished


@quick
@given(frames, frames, frames, st.integers(0), st.integers(1, 255))
def test_a_changed_byte_costs_that_frame_and_no_other(first, hit, last, at, change):
    line = bytearray(encode(hit))
    line[at % len(line)] ^= change
    found = Decoder().feed(encode(first) + line + encode(last))
    assert [f for f in found if f] == [first, last]
    assert None in found, "and it is seen"


@quick
@given(frames, frames, st.integers(0), st.integers(0, 255), st.booleans())
def test_a_lost_or_added_byte_never_makes_another_frame(hit, last, at, byte, lost):
    line = encode(hit)
    at %= len(line)
    line = line[:at] + (line[at + 1 :] if lost else bytes((byte,)) + line[at:])
    whole = [f for f in Decoder().feed(line + encode(last)) if f]
    assert whole in ([last], [hit, last])


@quick
@given(st.binary(max_size=100), frames)
@example(b"\x7d", Frame(1, 2, 3))
def test_what_comes_before_the_first_flag_is_nobodys(noise, one):
    assert Decoder().feed(noise.replace(b"\x7e", b"") + encode(one)) == [one]


def test_damage():
    content = encode(Frame(RUN, 9, 1, b"body"))[1:-1]
    for stuffed in (
        content + b"\x7d",  # an escape at the end
        content[:-1],
        content[1:],
        content[:4] + b"\x7d\x41" + content[4:],  # an escape of nothing
        content[:4] + b"\x7d\x7d" + content[4:],
        bytes(3) + struct.pack("<I", crc32(bytes(3))),  # 7 bytes
        b"\x00" * 4,  # a CRC of nothing, and nothing else
        b"x",
    ):
        assert Decoder().feed(b"\x7e" + stuffed + b"\x7e") == [None]
    tail = content[-4:]
    assert Decoder().feed(b"\x7e" + content[:-4] + bytes((tail[0] ^ 1,)) + tail[1:] + b"\x7e") == [None]


@pytest.mark.parametrize("at", [3, 7, 11])
def test_an_escape_never_stands_for_itself(at):
    """Its CRC right or not: 0x7D is one half of a pair, or damage. In front, in the middle, at the end."""
    for number in range(1 << 20):
        content = bytearray((RUN, 9, 0, 1)) + struct.pack("<I", number)
        content[at:at] = b"\x7d" if at < 8 else b""
        content += struct.pack("<I", crc32(content))
        if content.count(0x7D) == 1 and content[at] == 0x7D and 0x7E not in content:
            break
    assert Decoder().feed(b"\x7e" + content + b"\x7e") == [None]


def test_an_escape_right_before_a_flag_discards_the_frame():
    """Even where the bytes before it are whole, and where the bytes behind the flag would make it so."""
    one = Frame(RUN, 1, 1, b"\x7e")
    line = encode(one)
    assert b"\x7d\x5e" in line
    assert Decoder().feed(line.replace(b"\x7d\x5e", b"\x7d\x7e") + line) == [None, None, one]


def test_empty_frames_mean_nothing():
    decoder = Decoder()
    assert decoder.feed(b"\x7e" * 50) == []
    assert not decoder.unfinished
    assert decoder.feed(b"\x01") == [] and decoder.unfinished


def test_a_frame_without_an_end_is_dropped():
    one = Frame(RUN, 1, 1, bytes(20))
    decoder = Decoder(limit=64)
    assert decoder.feed(bytes(1000)) == [], "noise before the first flag"
    assert decoder.feed(b"\x7e" + bytes(64)) == []
    assert decoder.feed(b"\x01") == [None]
    assert not decoder.unfinished
    assert decoder.feed(bytes(1000)) == [], "told once"
    assert decoder.feed(encode(one)) == [one]
    assert decoder.feed(encode(one)) == [one]


def test_the_largest_reply_that_hello_can_announce():
    one = Frame(0x80 | RUN, 0x7E7E, 0x7E, b"\x7e" * (4 + 0xFFFF))
    line, decoder = encode(one), Decoder()
    assert decoder.feed(line[:-1]) == []
    assert decoder.feed(line[-1:]) == [one]


# ---- connecting -----------------------------------------------------------------------------------------------------


def test_opening_begins_a_session_and_touches_nothing(board, calm):
    board.session, board.last = 77, 5  # of another program, before
    with UartBridge(board.port, 115_200) as uart:
        assert uart.name == f"uart:{board.port}@115200"
        assert uart.bridge == (1, 1024, 2048, 25_000_000)
        assert [kind for kind, *_ in board.frames] == [HELLO, HELLO]
        assert {body for *_, body in board.frames} == {b"KVUB\x01"}
        sessions = [session for _, session, *_ in board.frames]
        assert len({0, 77, *sessions}) == 4, "the second is new to the bridge whatever it had before"
        assert board.session == sessions[1] and board.last is None
        assert board.executed == 0
        assert termios.tcgetattr(board._slave)[4:6] == [termios.B115200] * 2


def test_sessions_differ(board):
    for _ in range(5):
        UartBridge(board.port).close()
    assert len({session for _, session, *_ in board.frames}) >= 8


def test_the_port_is_put_into_raw_mode(board):
    attributes = termios.tcgetattr(board._slave)
    attributes[0] |= termios.IXON | termios.IXOFF | termios.ICRNL | termios.ISTRIP
    attributes[1] |= termios.OPOST | termios.ONLCR
    attributes[2] |= termios.CSTOPB | termios.CRTSCTS
    attributes[3] |= termios.ICANON | termios.ECHO | termios.ISIG
    termios.tcsetattr(board._slave, termios.TCSANOW, attributes)
    with UartBridge(board.port) as uart:
        every = bytes(range(256))
        uart.memory_write(0, every)
        assert uart.memory_read(0, 256) == every
        _, _, control, *_ = termios.tcgetattr(board._slave)
        assert control & termios.CSIZE == termios.CS8
        assert not control & (termios.CSTOPB | termios.CRTSCTS | termios.PARENB)


def test_connecting_over_a_bad_line(board, monkeypatch):
    monkeypatch.setattr(uart_link, "CONNECT_SECONDS", 8.0)
    monkeypatch.setattr(uart_link, "HELLO_SECONDS", 1.0)
    chance = random.Random(1)
    board.damage = lambda direction, data: chance.choice((data, data + data, data[:-1], b"\x7e\x01\x7e" + data))
    for _ in range(5):
        with UartBridge(board.port) as uart:
            assert uart.bridge.reply_buffer == 2048


def test_bytes_that_trickle(board):
    board.chunk = 1
    with UartBridge(board.port) as uart:
        board.mmio.words[0x10] = 0x7E7D7E7D
        assert uart.read_burst(0, 64).tolist()[4] == 0x7E7D7E7D


# ---- programs -------------------------------------------------------------------------------------------------------


def test_single_accesses(uart, board):
    uart.write32(0x54, 0xDEADBEEF)
    assert uart.read32(0x54) == 0xDEADBEEF
    uart.write64(0x60, 0x0123_4567_89AB_CDEF)
    assert uart.read64(0x60) == 0x0123_4567_89AB_CDEF
    uart.write_burst(0x80, range(1, 6))
    burst = uart.read_burst(0x80, 5)
    assert (burst.dtype, burst.tolist()) == (np.uint32, [1, 2, 3, 4, 5])
    assert board.mmio.writes[:3] == [(0x54, 0xDEADBEEF), (0x60, 0x89ABCDEF), (0x64, 0x01234567)]


def test_a_batch_on_the_wire(uart, board, calm):
    """Every kind of operation, byte by byte; accesses at ascending offsets are one operation."""
    batch = Batch()
    batch.write(0x54, 7)
    batch.write64(0x58, 2 << 32 | 1)
    batch.write(0x54, 8)
    batch.burst(0x40, 2)
    batch.read64(0x48)
    batch.read(0x40)
    batch.clock(100)
    batch.wait_idle()
    batch.drain(QUEUE)
    batch.drain(QUEUE, 5)
    uart.run(batch)
    (body,) = programs(board)
    expected = bytes.fromhex(
        "02 03 540000 07000000 01000000 02000000"
        "02 01 540000 08000000"
        "01 04 400000"
        "01 01 400000"
        "03 00 ------"
        "04 1f 000100"
        "04 05 000100".replace("-", "0")
    )
    at = expected.index(b"\x03\x00\x00") + 2
    wait = body[at : at + 3]
    assert body[:at] + bytes(3) + body[at + 3 :] == expected
    assert 0 < int.from_bytes(wait, "little") * 1024 / 25e6 <= 0.1
    uart.memory_write(0xA5, b"1234567890ab")
    uart.memory_read(0xA5, 12)
    uart.memory_write(0xA1, b"12")
    padded = bytes(5) + b"1234567890ab" + bytes(7)
    assert programs(board)[1:] == [
        b"\x06\x03\xe0\x01\x00" + struct.pack("<Q", 0xA0) + padded,
        b"\x05\x03\x00\x00\x00" + struct.pack("<Q", 0xA0),
        b"\x06\x01\xfe\x07\x00" + struct.pack("<Q", 0xA0) + b"\x0012" + bytes(5),
    ]


def test_waits_share_the_time_of_a_frame(uart, board, calm):
    batch = Batch()
    for _ in range(20):
        batch.wait_idle()
    uart.run(batch)
    (body,) = programs(board)
    units = [int.from_bytes(body[at + 2 : at + 5], "little") for at in range(0, 100, 5)]
    assert min(units) > 0 and sum(units) * 1024 / 25e6 <= 0.1, "the bridge answers soon, whatever the device does"


@pytest.mark.parametrize("clock_hz", [1000, 4_000_000_000])
def test_waits_of_any_clock(clock_hz, calm):
    with FakeBridge(Registers(), clock_hz=clock_hz) as board, UartBridge(board.port, idle_budget=30) as uart:
        board.mmio.busy = 2
        assert uart.wait_idle() == 0
        assert board.executed == 3
        assert all(int.from_bytes(body[2:5], "little") for body in programs(board))


def test_a_checked_command_is_one_exchange(calm):
    with FakeBridge(FakeDevice(256)) as board, UartBridge(board.port) as uart:
        near, far = Device(FakeDevice(256)), Device(uart)
        size = near.block_bytes
        commands = [Load(1, 0, 0, 32 * n, 32 * n + 31, va=n * size) for n in range(3)] + [Evict(0, 3 * size), Step(9)]
        for device in (far, near):
            device.execute(Step(1))  # reads the policy, once
        for command in commands:
            before = board.executed
            checked = far.execute_checked(command)
            assert board.executed == before + 1
            assert checked == near.execute_checked(command)
        assert uart.link.repeats == 0
        before = board.executed
        assert far.execute_many_checked(commands * 10) == near.execute_many_checked(commands * 10)
        assert board.executed - before <= 10, "fifty commands fill frames"
        for mine, theirs in zip(far.read_entries(), near.read_entries()):
            assert (mine == theirs).all()
        assert all(len(body) <= 1024 for body in programs(board))


offsets = st.sampled_from((*range(0, 0x108, 4), QUEUE, HIGH, NOWHERE))
words = st.integers(0, 0xFFFFFFFF)
operations = st.one_of(
    st.tuples(st.just("burst"), offsets, st.integers(0, 12)),
    st.tuples(st.just("burst"), st.sampled_from((0, 4, 0x80)), st.integers(1, 66)),
    st.tuples(st.just("write"), offsets, words),
    st.tuples(st.just("write"), st.sampled_from((0, 4, 8, 12)), words),
    st.tuples(st.just("write64"), offsets, st.integers(0, (1 << 64) - 1)),
    st.tuples(st.just("drain"), st.sampled_from((QUEUE, QUEUE, QUEUE, HIGH, NOWHERE, FAR))),
    st.tuples(st.just("drain"), st.just(QUEUE), st.sampled_from((0, 5, 30))),
    st.tuples(st.just("wait_idle")),
    st.tuples(st.just("clock"), st.integers(1, 9)),
)
queues = st.lists(st.integers(0, (1 << 64) - 1).map(lambda record: record | RECORD), max_size=30)


@pytest.mark.parametrize("buffers", [(32, 32), (47, 37), (1024, 2048)])
def test_batches_do_what_they_do_without_a_bridge(buffers):
    """Answers, effects, and the place of a bus error: those of `Mmio.run`, however small the buffers are."""

    @quick
    @given(st.lists(operations, max_size=12), queues, st.integers(0, 2))
    def check(operations, queue, busy):
        here, there = Registers(), Registers()
        here.queue, there.queue, there.busy = list(queue), list(queue), busy
        board.mmio = there
        batch = Batch()
        for name, *arguments in operations:
            getattr(batch, name)(*arguments)
        outcomes = []
        for target in (here, uart):
            try:
                words, records = target.run(batch)
                outcomes.append((words.dtype, words.tolist(), records.dtype, records.tolist()))
            except BusError as error:
                outcomes.append((str(error), error.position, error.offset, error.is_write))
        assert outcomes[0] == outcomes[1]
        assert (here.writes, here.words, here.queue) == (there.writes, there.words, there.queue)

    with FakeBridge(Registers(), *buffers) as board, UartBridge(board.port) as uart:
        check()
        assert max(map(len, programs(board))) <= buffers[0]


def test_long_batches_fill_the_frames(uart, board, calm):
    """Split where the buffers end, and not before."""
    batch = Batch()
    for _ in range(20):
        batch.burst(0, 64)
    assert len(uart.run(batch).words) == 1280
    assert [len(body) // 5 for body in programs(board)] == [8, 8, 4]
    batch = Batch()
    for n in range(20):
        for i in range(64):
            batch.write(4 * i, n)
    uart.run(batch)
    assert [len(body) // 261 for body in programs(board)[3:]] == [3] * 6 + [2]
    assert len(board.mmio.writes) == 1280


def test_long_bursts(calm):
    class Plain(Registers):
        def read32(self, offset):
            return offset

    with FakeBridge(Plain()) as board, UartBridge(board.port) as uart:
        assert uart.read_burst(0x40000, 4096).tolist() == list(range(0x40000, 0x44000, 4))
        assert board.executed == 9, "two operations of 255 words in each"


def test_more_for_a_full_reply(uart, board, calm):
    """The records took the room of the words behind them; what was written before is not written again."""
    records = [RECORD | n << 32 | n for n in range(200)]
    board.mmio.queue = list(records)
    board.mmio.words |= {4 * i: i for i in range(64)}
    batch = Batch()
    batch.write(0xFC, 63)
    batch.drain(QUEUE)
    for _ in range(3):
        batch.burst(0, 64)
    result = uart.run(batch)
    assert result.records.tolist() == records
    assert result.words.tolist() == list(range(64)) * 3
    assert board.executed == 2 and board.mmio.writes == [(0xFC, 63)]


@pytest.mark.parametrize("count", [0, 1, 254, 255, 256, 257, 600])
def test_a_drain_in_parts(uart, board, calm, count):
    board.mmio.queue = [RECORD | n << 32 | n for n in range(count)]
    wanted = list(board.mmio.queue)
    batch = Batch()
    batch.drain(QUEUE)
    batch.read(0x10)
    board.mmio.words[0x10] = 99
    words, records = uart.run(batch)
    assert records.tolist() == wanted and words.tolist() == [99]
    assert board.mmio.queue == []
    assert board.executed <= 1 + (8 * count + 12) // 2040


def test_a_drain_without_end(uart, board, calm, monkeypatch):
    monkeypatch.setattr(seam, "ENDLESS", 600)
    board.mmio.queue = [RECORD] * 2000
    batch = Batch()
    batch.drain(QUEUE)
    with pytest.raises(TargetError, match=f"records at offset {QUEUE:#x} do not end"):
        uart.run(batch)
    assert len(board.mmio.queue) > 1000
    assert uart.read32(0x10) == board.mmio.words[0x10]


def test_more_for_a_wait(uart, board, calm):
    """Goes on at the wait: what is before it is not done again."""
    board.mmio.busy = 3
    batch = Batch()
    batch.write(0, 1)
    batch.wait_idle()
    batch.write(0, 2)
    batch.read(0)
    assert uart.run(batch).words.tolist() == [2]
    assert board.mmio.writes == [(0, 1), (0, 2)]
    assert board.executed == 4


def test_a_wait_has_a_budget(board):
    board.mmio.busy = 1 << 30
    with UartBridge(board.port, idle_budget=0.1) as uart:
        batch = Batch()
        batch.write(0, 1)
        batch.wait_idle()
        batch.write(0, 2)
        with told("still busy after 0.1 s", "STATUS", IdleTimeout):
            uart.run(batch)
        with told("still busy after 0.2 s", "STATUS", IdleTimeout):
            uart.wait_idle(0.2)
        assert board.mmio.writes == [(0, 1)]
        board.mmio.busy = 0
        assert uart.wait_idle() == 0, "the link is as good as before"


class Clocked(Registers):
    """`seconds(what, value)` of the board's clock pass with each write and each wait."""

    def __init__(self, board, seconds):
        super().__init__()
        self.board, self.seconds = board, seconds

    def write32(self, offset, value):
        super().write32(offset, value)
        self.board.time += self.seconds("write", value)

    def wait_idle(self, budget=None):
        self.board.time += self.seconds("wait", self.busy)
        return super().wait_idle()


@pytest.mark.parametrize(("seconds", "enough"), [(0.3, True), (0.4, False)])
def test_each_wait_has_a_budget_of_its_own(turned, seconds, enough):
    """Four waits that are busy three times each, and a budget for three times, not for four."""

    class FourTimes(Clocked):
        def wait_idle(self, budget=None):
            self.busy = self.busy or 4
            if self.busy > 1:
                return super().wait_idle()
            self.busy = 0

    turned.mmio = FourTimes(turned, lambda what, value: seconds)
    with UartBridge("a port", idle_budget=1.0) as uart:
        batch = Batch()
        for _ in range(4):
            batch.wait_idle()
        if enough:
            uart.run(batch)
            assert turned.time > 4 * 0.9
        else:
            with told("still busy after 1 s", "STATUS", IdleTimeout):
                uart.run(batch)


def error_of(uart, batch):
    with pytest.raises(BusError) as caught:
        uart.run(batch)
    return caught.value.position, caught.value.offset, caught.value.is_write, "DECERR" in str(caught.value)


def test_positions_of_bus_errors(uart, board):
    """In the batch's terms, though the accesses went as other operations."""

    def failing(name, *arguments):
        batch = Batch()
        batch.write(0, 1)
        batch.write(4, 1)
        batch.read(0)
        getattr(batch, name)(*arguments)
        batch.write(8, 1)
        board.mmio.writes.clear()
        answer = error_of(uart, batch)
        assert [offset for offset, _ in board.mmio.writes if offset in (0, 4, 8)] == [0, 4], "nothing behind it"
        return answer

    assert failing("read", FAR) == (3, FAR, False, True)
    assert failing("burst", 0x108 - 16, 8) == (3, 0x108, False, False)
    assert failing("write", QUEUE, 5) == (3, QUEUE, True, False)
    assert failing("write64", NOWHERE, 5) == (3, NOWHERE, True, False)
    assert failing("write64", 0xFC, 5) == (3, 0x100, True, False), "the high half"
    assert failing("drain", FAR) == (3, FAR, False, True)
    board.mmio._high = RECORD
    assert failing("drain", HIGH) == (3, 0x108, False, False), "the high half of a record"


def test_a_drain_that_fails_late(uart, board):
    class Failing(Registers):
        def read32(self, offset):
            if offset == QUEUE and not self.queue:
                raise BusError(offset, False, detail="SLVERR")
            return super().read32(offset)

    for count in (1, 127, 128, 300):
        board.mmio = Failing()
        board.mmio.queue = [RECORD] * count
        batch = Batch()
        batch.read(0)
        batch.drain(QUEUE)
        assert error_of(uart, batch) == (1, QUEUE, False, False)


def test_positions_in_gathered_writes(uart, board):
    """64 words of 62 batch operations in one WRITE; the one that fails is named by its own."""
    batch = Batch()
    batch.write64(0x00, 1)
    for offset in range(0x08, 0xF8, 4):
        batch.write(offset, 1)
    batch.write64(0xF8, 1)
    for offset in range(0x100, 0x110, 4):
        batch.write(offset, 1)
    assert error_of(uart, batch) == (62, 0x100, True, False)
    assert len(board.mmio.writes) == 64


def test_positions_in_split_operations():
    with FakeBridge(Registers(), 32, 32) as board, UartBridge(board.port) as uart:
        batch = Batch()
        for offset in range(0, 0x110, 4):
            batch.write(offset, 1)
        assert error_of(uart, batch) == (64, 0x100, True, False)
        batch = Batch()
        batch.burst(0, 60)
        batch.burst(0xF0, 20)
        assert error_of(uart, batch) == (1, 0x108, False, False)


@pytest.mark.parametrize("offset", [-4, SPACE_BYTES, 0x7FFF_FFFC])
def test_offsets_outside_the_space(uart, board, offset):
    for access in (lambda: uart.read32(offset), lambda: uart.write32(offset, 1)):
        with pytest.raises(BusError, match="outside"):
            access()
    for access in (lambda: uart.read64(offset), lambda: uart.write64(offset, 1), lambda: uart.read_burst(offset, 3)):
        with pytest.raises(UsageError, match="outside"):
            access()
    assert board.executed == 0


def test_the_last_offset(uart, board):
    with pytest.raises(BusError, match="DECERR"):
        uart.read32(SPACE_BYTES - 4)
    assert programs(board) == [b"\x01\x01\xfc\xff\x7f"]


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_values_that_do_not_fit(uart, board, value):
    for access in (lambda: uart.write32(0, value), lambda: uart.write_burst(0, [1, value])):
        with pytest.raises(UsageError, match="does not fit"):
            access()
    with pytest.raises(UsageError, match="does not fit"):
        uart.write64(0, value << 32)
    assert board.executed == 0


def test_nothing_asked_nothing_sent(uart, board):
    assert uart.read_burst(0, 0).tolist() == []
    uart.write_burst(0, [])
    uart.run(Batch())
    assert uart.memory_read(3, 0) == b""
    uart.memory_write(3, b"")
    assert uart.memory_read_blocks(np.array([1, 2], np.uint64), 0).shape == (2, 0)
    assert uart.memory_read_blocks(np.array([], np.uint64), 5).shape == (0, 5)
    assert board.executed == 0


# ---- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffers", [(32, 32), (1024, 2048)])
def test_memory_at_every_alignment_and_length(buffers):
    chance = random.Random(2)
    with FakeBridge(Registers(), *buffers) as board, UartBridge(board.port) as uart:
        board.mmio.memory[:] = expected = bytearray(chance.randbytes(1 << 16))
        for alignment in range(8):
            for length in range(41):
                addr = 0x1000 + alignment
                assert uart.memory_read(addr, length) == expected[addr : addr + length]
                data = chance.randbytes(length)
                uart.memory_write(addr, data)
                expected[addr : addr + length] = data
                assert board.mmio.memory == expected, (alignment, length)


def test_large_memory(uart, board, calm):
    data = random.Random(3).randbytes(20_003)
    uart.memory_write(13, data)
    assert board.mmio.memory[13 : 13 + len(data)] == data and not any(board.mmio.memory[:13])
    written = board.executed
    assert uart.memory_read(13, len(data)) == data
    assert written <= 21 and board.executed - written <= 11, "frames are full"


@pytest.mark.parametrize("size", [1, 7, 8, 13, 256, 3000])
def test_blocks_of_memory(uart, board, size):
    board.mmio.memory[:] = random.Random(size).randbytes(1 << 16)
    addrs = [0, 5, 4096, 4096, 0x7FF9, (1 << 16) - size]
    blocks = uart.memory_read_blocks(np.array(addrs, np.uint64), size)
    assert (blocks.dtype, blocks.shape) == (np.uint8, (len(addrs), size))
    assert [block.tobytes() for block in blocks] == [bytes(board.mmio.memory[a : a + size]) for a in addrs]


def test_small_blocks_share_exchanges(uart, board, calm):
    uart.memory_read_blocks(np.arange(0, 6400, 64, dtype=np.uint64), 16)
    assert board.executed <= 2


def test_memory_ranges_that_are_none(uart, board):
    for addr, size in ((-1, 1), ((1 << 64) - 1, 2), (1 << 64, 1)):
        for access in (
            lambda: uart.memory_read(addr, size),  # noqa: B023
            lambda: uart.memory_write(addr, bytes(size)),  # noqa: B023
            lambda: uart.memory_read_blocks([addr], size),  # noqa: B023
        ):
            with pytest.raises(UsageError, match="outside the 64-bit space"):
                access()
    with pytest.raises(UsageError):
        uart.memory_read(8, -1)
    assert board.executed == 0


def test_the_end_of_the_64_bit_space(uart, board):
    class Top(Registers):
        def memory_read(self, addr, size):
            return super().memory_read(addr - (1 << 64) + (1 << 16), size)

        def memory_write(self, addr, data):
            super().memory_write(addr - (1 << 64) + (1 << 16), data)

    board.mmio = Top()
    uart.memory_write((1 << 64) - 3, b"top")
    assert uart.memory_read((1 << 64) - 3, 3) == b"top"
    assert board.mmio.memory[-3:] == b"top"


def test_memory_that_is_not_there(uart, board):
    with told("memory answered the read of memory address 0x10000 with DECERR", "tiers") as caught:
        uart.memory_read(0x10000 - 20, 40)
    assert not isinstance(caught.value, BusError), "it is no register offset"
    with told("memory answered the write to memory address 0x10000 with DECERR", "tiers"):
        uart.memory_write(0x10000 - 20, bytes(40))
    with told("memory address 0x20000 with DECERR"):
        uart.memory_read_blocks(np.array([8, 0x20000], np.uint64), 8)
    assert uart.memory_read(0, 8) == bytes(8), "and it goes on"


# ---- exactly once ---------------------------------------------------------------------------------------------------


def change_byte(data: bytes, at: int = 5) -> bytes:
    return data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :] if at < len(data) else data


def faults():
    """(direction, what happens to the next bytes that go there)"""
    for direction in ("in", "out"):
        yield direction, lambda data: b""
        yield direction, lambda data: data + data
        yield direction, lambda data: data * 3
        yield direction, lambda data: b"\x7e\x7d\x7e\x00\x01" + data
        yield direction, lambda data: data + b"\x01\x02\x03"
        yield direction, lambda data: frame(0x82, 1, 0, bytes(4)) + data
        for at in range(26):
            yield direction, lambda data, at=at: change_byte(data, at)
            yield direction, lambda data, at=at: data[:at] + b"\x7e" + data[at:]
            yield direction, lambda data, at=at: data[:at] + b"\x7d" + data[at + 1 :]
        for at in (1, 2, 9, -1, -2):
            yield direction, lambda data, at=at: data[:at]
            yield direction, lambda data, at=at: data[at:]
        for status in (0, 6, 7):  # replies of nobody in this session
            yield direction, lambda data, status=status: frame(0x82, 0xFFFF, 3, bytes((status, 0, 1, 0))) + data


def test_every_single_fault(uart, board):
    """One at each byte of a request and of its reply: the write is made once, the read gets what is there."""
    armed = []

    def damage(direction, data):
        if armed and armed[0][0] == direction:
            return armed.pop()[1](data)
        return data

    board.damage = damage
    executed = 0
    for number, fault in enumerate(faults()):
        armed[:] = [fault]
        uart.write32(4 * (number % 64), 0x7E7D0000 + number)
        armed[:] = [fault]
        assert uart.read32(4 * (number % 64)) == 0x7E7D0000 + number
        executed += 2
        assert board.executed == executed
    assert [value - 0x7E7D0000 for _, value in board.mmio.writes] == list(range(number + 1))
    assert len(programs(board)) == executed
    assert uart.link.repeats > executed // 3, "the faults were some"


def test_replies_of_the_past(uart, board):
    """Each reply comes once more right before the next one, and before the one after 255 others."""
    replies = []

    def damage(direction, data):
        if direction == "in":
            return data
        replies.append(data)
        return b"".join(replies[-256:-254]) + b"".join(replies[-2:])

    board.damage = damage
    for number in range(600):
        board.mmio.words[0] = number
        assert uart.read32(0) == number
    assert board.executed == 600


def test_replies_to_somebody_else(uart, board):
    """The right sequence, but another session or another kind: in front of each reply, and nobody's."""

    def damage(direction, data):
        if direction == "in":
            return data
        session, sequence = board.named
        body = b"\x00\x00\x01\x00\xee\xee\xee\xee"
        return frame(0x82, session ^ 0x0100, sequence, body) + frame(0x83, session, sequence, body) + data

    board.damage = damage
    for number in range(20):
        board.mmio.words[0] = number
        assert uart.read32(0) == number
    assert board.executed == 20


def test_sequence_numbers_wrap(uart, board, calm):
    for number in range(600):
        uart.write32(0, number)
    assert [value for _, value in board.mmio.writes] == list(range(600))
    assert len(programs(board)) == board.executed == 600 and board.repeated == 0
    assert [sequence for kind, _, sequence, _ in board.frames if kind == RUN] == [n % 256 for n in range(600)]


@pytest.mark.parametrize("seed", range(2))
def test_a_bad_line(seed):
    """Many faults at once, in both directions, while batches run that would show each repetition."""
    chance = random.Random(seed)
    here, there = Registers(), Registers()

    def damage(direction, data):
        if chance.random() < 0.7:
            return data
        at = chance.randrange(len(data))
        return chance.choice((
            b"", data[:at], data[at:], data + data, chance.randbytes(5) + data, data[:at] + chance.randbytes(1) + data[at + 1 :],
            data[:at] + b"\x7e" + data[at:], data + bytes(9),
        ))  # fmt: skip

    with FakeBridge(there, 128, 96) as board, UartBridge(board.port, patience=5) as uart:
        for _ in range(10):  # until it knows how quick the link is
            uart.read32(0)
        board.damage = damage
        for number in range(15):
            batch = Batch()
            for _ in range(chance.randrange(1, 5)):
                batch.write(4 * chance.randrange(64), number)
                batch.drain(QUEUE)
                batch.burst(0, chance.randrange(1, 40))
                batch.read(QUEUE)
            for target in (here, there):
                target.queue = [RECORD | number << 32 | n for n in range(number % 20)]
            wanted, found = here.run(batch), uart.run(batch)
            assert wanted.words.tolist() == found.words.tolist() and wanted.records.tolist() == found.records.tolist()
        assert here.writes == there.writes
        assert len(programs(board)) == board.executed
        assert uart.link.repeats and board.repeated


def test_a_program_that_takes_longer_than_expected(turned):
    """The host asks again meanwhile; it is executed once, and the answers to the repetitions disturb nobody."""
    with UartBridge("a port") as uart:
        for number in range(12):
            turned.quiet = 0.4 if number in (3, 10) else 0.0
            uart.write32(0, number)
            turned.quiet = 0.0
            assert uart.read32(0) == number
        assert [value for _, value in turned.mmio.writes] == list(range(12))
        assert turned.executed == 24 == len(programs(turned))
        assert uart.link.repeats >= 2 and turned.repeated >= 2


def everything(uart):
    return (
        lambda: uart.read32(0), lambda: uart.write32(0, 1), lambda: uart.read64(0), lambda: uart.write64(0, 1),
        lambda: uart.read_burst(0, 2), lambda: uart.write_burst(0, [1]), lambda: uart.wait_idle(), lambda: uart.memory_read(0, 1),
        lambda: uart.memory_write(0, b"1"), lambda: uart.memory_read_blocks(np.array([0], np.uint64), 8),
        lambda: uart.bridge_statistics(),
    )  # fmt: skip


def all_raise(uart, match):
    """Every call raises the same, and sends nothing that might be executed."""
    before = uart.link.frames_sent
    for call in everything(uart):
        with pytest.raises(TargetError, match=match):
            call()
    assert uart.link.frames_sent == before


@pytest.mark.parametrize("direction", ["in", "out"])
def test_after_giving_up_nothing_is_sent(turned, direction):
    with UartBridge("a port") as uart:
        uart.write32(0, 1)
        turned.damage = lambda way, data: b"" if way == direction else data
        with told("has stopped answering", "powered"):
            uart.write32(0, 2)
        assert uart.link.repeats > 0 and uart.link.timeouts > 0
        turned.damage = lambda way, data: data
        all_raise(uart, "has stopped answering")
        executed = turned.executed
        assert executed == (1 if direction == "in" else 2)
        assert len(programs(turned)) == executed
    with UartBridge("a port") as uart:
        assert uart.read32(0) == executed, "a new session sees what happened"


def test_default_patience(turned):
    with UartBridge("a port") as uart:
        turned.mute = True
        began = turned.time
        with told("has stopped answering", "powered"):
            uart.read32(0)
        assert 1.0 <= turned.time - began <= SOON, "a hiccup of the host must not end the session, nor a dead board keep it"


# ---- a board that is only slow --------------------------------------------------------------------------------------


@pytest.fixture
def slow(turned):
    """Connected while it was quick; from now on a byte takes as long as some hundred did before: its machine has other work."""
    with UartBridge("a port") as uart:
        for _ in range(10):
            uart.read32(0)
        turned.chunk, turned.pause = 1, 0.025
        yield uart


def test_a_reply_that_grows_slowly_is_waited_for(slow, turned):
    turned.mmio.words |= {4 * i: i for i in range(64)}
    began = turned.time
    assert slow.read_burst(0, 64).tolist() == list(range(64))
    assert turned.time - began > 5, "or it was not slow"
    assert slow.link.repeats == 0, "and nobody makes it slower by asking again"


def test_a_slow_reply_that_stops_is_told_as_that(slow, turned):
    parts = [slice(100)]
    turned.damage = lambda direction, data: data if direction == "in" else data[parts.pop() if parts else slice(0)]
    began = turned.time
    with told("has stopped answering in the middle of a reply", "virtual"):
        slow.read_burst(0, 64)
    assert turned.time - began < 100 * 0.025 + 2 * SOON


def test_slow_bytes_are_no_sign_of_life_once_they_are_damaged(slow, turned):
    """Noise may look like a frame for a while."""
    turned.damage = lambda direction, data: data[:40] + b"\x7e" + data if direction == "out" else data
    with told("too bad", "cable"):
        slow.read_burst(0, 64)
    assert slow.link.damaged > 0


def test_bytes_without_an_end_are_no_sign_of_life(slow, turned):
    """More of them than any reply has."""
    turned.damage = lambda direction, data: b"\x7e" + bytes(20_000) if direction == "out" else data
    began = turned.time
    with told("too bad", "cable"):
        slow.read_burst(0, 64)
    assert turned.time - began < 2 * (2048 + 14) * 0.025 + 2 * SOON


def test_waits_of_a_simulation_take_the_time_of_its_clock(turned):
    """10 ms of the device's clock; on a machine where a byte takes a hundred times longer than on a line, a second and more."""
    turned.chunk, turned.pause = 1, 0.001
    with UartBridge("a port") as uart:
        for _ in range(10):
            uart.read32(0)
        turned.quiet = 5.0
        assert uart.wait_idle() == 0


def test_an_interrupted_command_leaves_the_link_unusable(uart, board, monkeypatch):
    def interrupted(timeout):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(uart._link._port, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            uart.write32(0, 1)
    all_raise(uart, "interrupted before its reply; it may or may not have run")


def test_closed(uart, board):
    uart.close()
    uart.close()
    all_raise(uart, "closed")


# ---- what goes wrong: the port --------------------------------------------------------------------------------------


def test_no_such_port():
    with told("there is no port /dev/ttyUSB99"):
        UartBridge("/dev/ttyUSB99")


def test_ports_are_named_where_there_are_some(monkeypatch):
    monkeypatch.setattr(uart_port, "_ports", lambda: ["/dev/ttyUSB0", "/dev/ttyUSB1"])
    with told("there is no port", "/dev/ttyUSB0, /dev/ttyUSB1? then --target uart:PORT, beside --board as well"):
        UartBridge("/dev/ttyUSB99")


@pytest.mark.parametrize("path", ["/dev/null", "/", __file__])
def test_not_a_serial_port(path):
    with told("is not a serial port", "uart:PORT"):
        UartBridge(path)


def test_no_permission(board):
    os.chmod(board.port, 0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        with told(f"no permission to use {board.port}", "usermod"):
            UartBridge(board.port)
    finally:
        if root:
            os.seteuid(0)


def test_a_port_has_one_user(board, uart):
    with told(f"{board.port} is in use", "one user"):
        UartBridge(board.port)
    uart.write32(0, 5)
    assert uart.read32(0) == 5, "and that one is not disturbed"


def test_the_user_of_a_port_is_named(board):
    code = "import fcntl, sys; f = open(sys.argv[1], 'rb', 0); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, board.port]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        try:
            other.stdout.readline()
            with told(rf"in use by python\S* \(process {other.pid}\)", "end the other program"):
                UartBridge(board.port)
        finally:
            other.stdin.close()
    UartBridge(board.port).close()


def test_another_reader_of_the_port_is_named(board):
    """It needs no lock to take what the board says."""
    board.mute = True
    code = "import sys; f = open(sys.argv[1], 'rb', 0); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, board.port], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as thief:
        try:
            thief.stdout.readline()
            with told(rf"{board.port}; the port is open in python\S* \(process {thief.pid}\)", "end that program"):
                UartBridge(board.port)
        finally:
            thief.stdin.close()


USERS = "import sys; from kvfpga.transport.uart.port import users; print(users(sys.argv[1]))"


def test_who_makes_a_pseudo_terminal_is_no_thief():
    """As a virtual board does, which has both ends of it open."""
    code = "import os, sys; m, s = os.openpty(); print(os.ttyname(s), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        port = maker.stdout.readline().strip()
        assert users(port) == []
        with open(port, "rb", 0):
            other = subprocess.run([sys.executable, "-c", USERS, port], capture_output=True, text=True, check=True).stdout
        assert f"(process {os.getpid()})" in other and f"(process {maker.pid})" not in other
        maker.stdin.close()


def test_a_lock_goes_with_the_port(board):
    with pytest.raises(TargetError):
        board.version = 9
        UartBridge(board.port)
    descriptor = os.open(board.port, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where the failed attempt kept it
    os.close(descriptor)


@pytest.mark.parametrize("baud", [1 << 31, 10**10])
def test_a_rate_that_no_port_can_do(board, baud):
    with told(f"cannot do {baud} baud", "PORT@BAUD"):
        UartBridge(board.port, baud)


@pytest.mark.parametrize("baud", [0, -9600])
def test_not_a_rate(board, baud):
    with pytest.raises(UsageError, match="not a baud rate"):
        UartBridge(board.port, baud)


def test_unplugged_between_commands(uart, board):
    board.unplug()
    with told(f"{board.port} has gone away", "unplugged"):
        uart.read32(0)
    all_raise(uart, "has gone away")


def test_unplugged_within_a_command(uart, board):
    class Unplugging(Registers):
        def write32(self, offset, value):
            os.close(board._wake)
            board._wake = None
            raise EOFError

    board.mmio = Unplugging()
    with told(f"{board.port} has gone away", "unplugged"):
        uart.write32(0, 1)
    all_raise(uart, "has gone away")
    assert isinstance(board.failed, EOFError)
    board.failed = None


def test_unplugged_while_waiting(board):
    port = SerialPort(board.port, 3_000_000)
    board.unplug()
    with told("has gone away", "unplugged"):
        port.read(1.0)
    port.close()


def test_unplugged_while_connecting(board, unhurried):
    board.mute = True
    later = threading.Timer(0.2, board.unplug)
    later.start()
    with told("has gone away", "unplugged"):
        UartBridge(board.port)
    later.join()


def test_a_port_that_takes_no_bytes(monkeypatch):
    monkeypatch.setattr(uart_port, "WRITE_TIMEOUT", 0.1)
    master, slave = os.openpty()
    try:
        port = SerialPort(os.ttyname(slave), 12_000_000)
        with told("takes no bytes", "plug it in again"):
            port.write(bytes(300_000))
        port.close()
    finally:
        os.close(master)
        os.close(slave)


# ---- what goes wrong: the other end ---------------------------------------------------------------------------------


def test_silence(turned):
    turned.mute = True
    with told("no bridge answers at a port: silence at 3000000 baud and at 7 other rates", "kvfpga program"):
        UartBridge("a port")
    assert turned.time <= SOON


def test_silence_at_an_unusual_rate(turned):
    turned.mute = True
    with told("silence at 12345 baud and at 8 other rates"):
        UartBridge("a port", 12345)
    assert turned.time <= SOON


def test_silence_of_a_real_port(board):
    board.mute = True
    with told(f"no bridge answers at {board.port}: silence at 3000000 baud", "virtual"):
        UartBridge(board.port)


RATES = pytest.mark.parametrize(
    ("right", "wrong", "garbage"), [(115_200, 3_000_000, b""), (2_000_000, 115_200, b"\xf8\x80\x78\x7e\x00")]
)


@RATES
def test_another_rate_is_found_and_named(board, unhurried, right, wrong, garbage):
    board.baud, board.garbage = right, garbage
    remedy = f"uart:{board.port}@{right}"
    with told(f"no bridge answers at {wrong} baud on {board.port}; one does at {right}", remedy):
        UartBridge(board.port, wrong)
    with UartBridge(board.port, right) as uart:
        uart.write32(0, 1)


@RATES
def test_another_rate_is_named_soon(turned, right, wrong, garbage):
    turned.baud, turned.garbage = right, garbage
    with told(f"no bridge answers at {wrong} baud on a port; one does at {right}", f"uart:a port@{right}"):
        UartBridge("a port", wrong)
    assert turned.time <= SOON


def test_a_late_answer_names_the_rate_that_it_answers(turned):
    """It comes when the host is already trying the next rate."""
    said = []

    def damage(direction, data):
        if direction == "in":
            turned.garbage = said.pop() if said else b""
            return data
        said.append(data)
        turned.baud = None if turned.rate == 2_000_000 else 2_000_000
        return b""

    turned.damage, turned.baud = damage, 2_000_000
    with told("no bridge answers at 115200 baud on a port; one does at 2000000", "uart:a port@2000000"):
        UartBridge("a port", 115_200)


def test_an_answer_that_comes_late_is_no_wrong_rate(turned):
    """The rate was right, and the host is trying others by now: it goes back."""
    turned.quiet, turned.baud = 0.8, 3_000_000
    with UartBridge("a port", 3_000_000) as uart:
        assert turned.rate == 3_000_000
        turned.quiet = 0.0
        assert uart.read32(0) == 0
    sessions = [session for kind, session, *_ in turned.frames if kind == HELLO]
    assert turned.session == sessions[-1] != sessions[0]


def test_an_answer_to_the_first_hello_is_none_to_the_second(turned):
    """It comes twice, and the second HELLO is lost: the second session has not begun."""
    lost = []

    def damage(direction, data):
        if direction == "out":
            return data + data
        if len(turned.frames) == 1 and not lost:
            lost.append(data)
            return b""
        return data

    turned.damage, turned.chunk = damage, 1
    with UartBridge("a port") as uart:
        assert lost and uart.read32(0) == 0


def test_bytes_but_no_frame(turned):
    turned.damage = lambda direction, data: b"login: " if direction == "out" else data
    with told("a port sends bytes .*no frame of a KV-CPU bridge", "another device, or another baud rate"):
        UartBridge("a port")
    assert turned.time <= SOON


class Talker(TurnedBridge):
    """Another device, that never stops talking."""

    def __init__(self):
        super().__init__(Registers())
        self.chance = random.Random(4)

    def read(self, timeout):
        self.time += 50 * 10 / self.rate
        return self.chance.randbytes(50)


def test_a_device_that_never_stops_talking(monkeypatch):
    talker = Talker()
    monkeypatch.setattr(uart_link, "SerialPort", talker.open_port)
    with told("bytes .*no frame", "another device"):
        UartBridge("a port")
    assert talker.time <= SOON


def test_a_device_that_echoes(turned):
    """Such as a loopback plug, or a console: whole frames come, all of them our own."""
    turned.hear = lambda data, baud: turned._write(data)
    with told("frame", "another device"):
        UartBridge("a port")
    assert turned.time <= SOON


def test_another_version(board):
    board.version = 2
    with told("speaks version 2 of the protocol, this kvfpga version 1", "built with"):
        UartBridge(board.port)
    assert board.executed == 0


def hello_of(magic=b"KVUB", version=1, request=1024, reply=2048, clock=25_000_000, more=b""):
    return struct.pack("<4sBBHHHI", magic, version, 0, request, reply, 0, clock) + more


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "not a KV-CPU bridge"),
        (b"KVUB", "not a KV-CPU bridge"),
        (hello_of(magic=b"BUVK"), "not a KV-CPU bridge"),
        (b"KVUB\x07", "speaks version 7"),
        (hello_of(version=0), "speaks version 0"),
        (hello_of(version=2, more=bytes(10)), "speaks version 2"),
        (hello_of()[:-1], "nonsense"),
        (hello_of(more=b"1"), "nonsense"),
        (hello_of(request=8), "nonsense"),
        (hello_of(reply=31), "nonsense"),
        (hello_of(clock=0), "nonsense"),
    ],
)
def test_nonsense_in_hello(board, body, match):
    reply_with(board, body, 0x80 | HELLO)
    with told(match, "bitstream"):
        UartBridge(board.port)


def test_silence_after_the_first_hello(turned):
    turned.damage = lambda direction, data: b"" if direction == "out" and len(turned.frames) > 1 else data
    with told("has stopped answering", "powered"):
        UartBridge("a port")
    assert turned.time <= SOON


def test_a_reset_of_the_board_midway(uart, board):
    uart.write32(0, 1)
    board.reset()
    with told("has lost this session: the board was reset, or another program.*may or may not have run", "kvfpga sync"):
        uart.write32(0, 2)
    all_raise(uart, "lost this session")
    assert board.executed == 1


def test_another_host_midway(uart, board):
    uart.write32(0, 1)
    board.session, board.last = board.session ^ 1, None
    with told("another program has taken it over", "connect again"):
        uart.write32(0, 2)
    assert board.executed == 1


def test_another_sequence_midway(uart, board):
    uart.write32(0, 1)
    board.last = 100
    with told("expects another sequence number", "end the other program"):
        uart.write32(0, 2)
    all_raise(uart, "another sequence number")
    assert board.executed == 1


def test_a_line_that_went_bad(turned):
    with UartBridge("a port") as uart:
        turned.damage = lambda direction, data: data.replace(b"\x82", b"\x80") if direction == "out" else data
        began = turned.time
        with told("too bad: no whole reply", "lower rate than 3000000"):
            uart.write32(0, 1)
        assert turned.time - began <= SOON
        assert uart.link.damaged > 0
        all_raise(uart, "too bad")
        assert turned.executed == 1


def test_a_bridge_that_only_ever_says_nak(turned):
    with UartBridge("a port") as uart:
        turned.damage = lambda direction, data: data if direction == "out" else data.replace(b"\x02\x01\x00", b"\x02\x03\x00")
        with told("too bad", "cable"):
            uart.write32(0, 1)
        assert uart.link.naks >= uart_link.TRIES and turned.executed == 0


def test_a_bridge_that_only_ever_says_nak_to_hello(turned):
    turned.damage = lambda direction, data: data.replace(b"KVUB", b"KVUX")
    with told("sends bytes", "rate"):
        UartBridge("a port")
    assert turned.time <= SOON


READ_ONE, DRAINS = [("read", 0)], [("drain", QUEUE)]


@pytest.mark.parametrize(
    ("operations", "body", "match"),
    [
        (READ_ONE, b"", "without a status"),
        (READ_ONE, b"\x00\x00\x01", "without a status"),
        (READ_ONE, b"\x00\x00\x01\x00" + bytes(3), "do not fit the request"),
        (READ_ONE, b"\x00\x00\x01\x00" + bytes(5), "do not fit the request"),
        (READ_ONE, b"\x00\x00\x02\x00" + bytes(4), "do not fit the request"),
        (READ_ONE, b"\x00\x00\x00\x00", "answered OK to operation 0 of 1"),
        (READ_ONE, b"\x01\x00\x01\x00" + bytes(4), "answered MORE to operation 1 of 1"),
        (READ_ONE, b"\x01\x00\x00\x00", "never has room for a READ"),
        (READ_ONE, b"\x02\x00\x05\x00", "do not fit the request"),
        (READ_ONE, b"\x02\x00\x01\x00" + bytes(4), "answered SLVERR to operation 1 of 1"),
        (READ_ONE, b"\x05\x00\x00\x00", "answered BAD_PROGRAM to operation 0 of 1"),
        (READ_ONE, b"\x63\x00\x00\x00", "answered status 99 to operation 0 of 1"),
        (DRAINS, b"\x00\x00\x01\x00", "do not fit the request"),
        (DRAINS, b"\x00\x00\x01\x00" + bytes(3), "do not fit the request"),
        (DRAINS, b"\x00\x00\x01\x00" + struct.pack("<Q", RECORD), "do not fit the request"),
        (DRAINS, b"\x00\x00\x01\x00" + struct.pack("<I", RECORD), "do not fit the request"),
        (DRAINS, b"\x00\x00\x01\x00" + bytes(8), "do not fit the request"),
        (DRAINS, b"\x01\x00\x00\x00" + bytes(4), "do not fit the request"),
        (DRAINS, b"\x01\x00\x00\x00", "never has room for a DRAIN"),
    ],
)
def test_replies_that_do_not_fit(uart, board, operations, body, match):
    batch = Batch()
    for name, *arguments in operations:
        getattr(batch, name)(*arguments)
    reply_with(board, body)
    with told(match, "bitstream"):
        uart.run(batch)


def test_statistics_that_do_not_fit(uart, board):
    reply_with(board, bytes(31), 0x80 | STATS)
    with told("31 bytes of statistics, not 32", "bitstream"):
        uart.bridge_statistics()


def test_a_bus_that_does_not_answer(uart, board):
    board.dead = {"bus"}
    with told("does not answer a read of offset 0x54", "reset the board"):
        uart.read32(0x54)
    with told("does not answer a write to offset 0x58", "reset the board"):
        uart.write32(0x58, 1)
    with told("does not answer a read of offset 0x100", "reset the board"):
        batch = Batch()
        batch.drain(QUEUE)
        uart.run(batch)
    board.dead = {"memory"}
    with told("does not answer the read of memory address 0x40", "reset the board"):
        uart.memory_read(0x41, 3)
    with told("does not answer the write to memory address 0x40", "reset the board"):
        uart.memory_write(0x41, b"1")
    uart.write32(0, 1)


# ---- statistics -----------------------------------------------------------------------------------------------------


def test_statistics_of_a_good_line(board, calm):
    sizes = {"in": 0, "out": 0}

    def damage(direction, data):
        sizes[direction] += len(data)
        return data

    board.damage = damage
    with UartBridge(board.port) as uart:
        for number in range(10):
            uart.write32(0, number)
        link = uart.link
        assert (link.exchanges, link.frames_sent, link.frames_received) == (12, 12, 12)
        assert (link.repeats, link.naks, link.damaged, link.timeouts, link.longest_recovery) == (0, 0, 0, 0, 0)
        assert {"in": link.bytes_out, "out": link.bytes_in} == sizes
        told_by_the_bridge = uart.bridge_statistics()
        assert told_by_the_bridge == {
            "frames_accepted": 13, "frames_damaged": 0, "bad_stop_bits": 0, "runs_executed": 10, "runs_repeated": 0,
            "frames_dropped": 0, "refused": 0,
        }  # fmt: skip


def test_damage_is_answered_at_once(uart, board, calm):
    """A NAK and a damaged reply make the host ask again without waiting."""
    armed = ["in", "out"]
    board.damage = lambda direction, data: change_byte(data) if armed and armed[-1] == direction and armed.pop() else data
    uart.write32(0, 1)
    uart.write32(0, 2)
    assert armed == []
    link = uart.link
    assert (link.exchanges, link.repeats, link.naks, link.damaged, link.timeouts) == (4, 2, 1, 1, 0)


def test_statistics_of_a_bad_line(uart, board):
    faults = []
    board.damage = lambda direction, data: faults.pop()[1](data) if faults and faults[-1][0] == direction else data
    link = uart.link

    def after(direction, fault):
        before = dict(vars(link))
        faults.append((direction, fault))
        uart.write32(0, 1)
        return {name for name, value in vars(link).items() if value > before[name]} & {"naks", "damaged", "timeouts", "repeats"}

    assert after("in", change_byte) >= {"naks", "repeats"}
    assert link.longest_recovery > 0
    assert after("out", change_byte) >= {"damaged", "repeats"}
    assert after("in", lambda data: b"") >= {"timeouts", "repeats"}
    assert after("out", lambda data: b"") >= {"timeouts", "repeats"}
    assert link.exchanges == 6, "two HELLOs and four writes"
    assert link.frames_sent == link.exchanges + link.repeats
    counted = uart.bridge_statistics()
    assert (counted["runs_executed"], counted["frames_damaged"]) == (4, board.damaged) and counted["runs_repeated"] >= 2
