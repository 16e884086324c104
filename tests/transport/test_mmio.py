"""The seam: batches, bus errors, order of accesses, recording and replay; on a plain implementation and on the
simulator."""

import json

import numpy as np
import pytest

from kvfpga.contract.commands import Load
from kvfpga.contract.errors import BusError, IdleTimeout, TargetError, UsageError
from kvfpga.device.device import Device
from kvfpga.device.regmap import BAR2_ENTRIES, REGISTERS
from kvfpga.transport import recording
from kvfpga.transport.mmio import SPACE_BYTES, Batch, Mmio, Op, OpKind
from kvfpga.transport.recording import RecordingMmio, replay_recording
from kvfpga.transport.telling import TellingMmio

SCRATCH, DEVICE_ID, ERROR = (REGISTERS[name].offset for name in ("SCRATCH", "DEVICE_ID", "ERROR"))
BOOST_ADDR = REGISTERS["BOOST_ADDR"].offset
COMPLETION = REGISTERS["COMPLETION"].offset
UNMAPPED = 0xD000


class PlainMmio(Mmio):
    """The least that a target can be: some registers, a queue at COMPLETION, nothing batched."""

    name = "plain"

    def __init__(self):
        self.registers = {DEVICE_ID: 0x4B564350, SCRATCH: 0, BOOST_ADDR: 0, BOOST_ADDR + 4: 0, ERROR: 0}
        self.queue: list[int] = []
        self.calls: list[tuple] = []
        self.memory = bytearray(1 << 16)

    def read32(self, offset):
        self.calls.append(("r", offset))
        if offset == COMPLETION:
            self.high = self.queue[0] >> 32 if self.queue else 0
            return self.queue.pop(0) & 0xFFFFFFFF if self.queue else 0
        if offset == COMPLETION + 4:
            return self.high
        if offset not in self.registers:
            raise BusError(offset, False)
        return self.registers[offset]

    def write32(self, offset, value):
        self.calls.append(("w", offset))
        if offset not in self.registers or offset == DEVICE_ID:
            raise BusError(offset, True)
        self.registers[offset] = value

    def memory_read(self, addr, size):
        return bytes(self.memory[addr : addr + size])

    def memory_write(self, addr, data):
        self.memory[addr : addr + len(data)] = data

    def wait_idle(self, budget=None):
        return 0

    def close(self):
        pass


@pytest.fixture(scope="module")
def shared_sim():
    from kvfpga.transport.sim.verilated import VerilatorSim

    with VerilatorSim(entries=256, lanes=4, data_bits=128) as sim:
        yield sim


@pytest.fixture
def sim(shared_sim):
    shared_sim.reset()
    return shared_sim


@pytest.fixture(params=["plain", "sim"])
def mmio(request):
    return PlainMmio() if request.param == "plain" else request.getfixturevalue("sim")


# ---- building a batch -----------------------------------------------------------------------------------------------


def test_batch_says_where_words_will_be():
    batch = Batch()
    assert batch.read(0x40) == 0
    batch.write(0x54, 7)
    assert batch.burst(0x80, 3) == slice(1, 4)
    assert batch.read64(0x48) == 4
    assert batch.words == 6
    batch.write64(0x200, 0x1_0000_0002)
    batch.wait_idle()
    batch.drain(0x1020)
    assert list(batch)[-3:] == [
        Op(OpKind.WRITE64, 0x200, 2, 1), Op(OpKind.WAIT_IDLE, 0, 0, 0), Op(OpKind.DRAIN, 0x1020, 31, 0)
    ]  # fmt: skip
    copy = Batch()
    for op in batch:
        copy.append(op)
    assert (copy.ops, copy.words, len(copy)) == (batch.ops, batch.words, 7)


@pytest.mark.parametrize("offset", [-4, SPACE_BYTES, SPACE_BYTES - 4])
def test_batch_refuses_what_is_outside_the_space(offset):
    with pytest.raises(UsageError, match="outside the register space"):
        Batch().read64(offset)


@pytest.mark.parametrize(("method", "value"), [("write", 1 << 32), ("write", -1), ("write64", 1 << 64)])
def test_batch_refuses_a_value_that_does_not_fit(method, value):
    batch = Batch()
    with pytest.raises(UsageError, match="does not fit"):
        getattr(batch, method)(0x54, value)
    assert len(batch) == 0, "nothing is left of it"


# ---- running one ----------------------------------------------------------------------------------------------------


def test_empty_batch(mmio):
    words, records = mmio.run(Batch())
    assert (words.dtype, len(words), records.dtype, len(records)) == (np.uint32, 0, np.uint64, 0)


def test_order_of_accesses_is_the_order_of_effects(mmio):
    batch = Batch()
    batch.write(SCRATCH, 1)
    slots = []
    for value in range(2, 50):
        slots.append(batch.read(SCRATCH))
        batch.write(SCRATCH, value)
    slots.append(batch.read(SCRATCH))
    words = mmio.run(batch).words
    assert words[slots].tolist() == list(range(1, 50))


def test_batch_runs_again(mmio):
    batch = Batch()
    before = batch.read(SCRATCH)
    batch.write(SCRATCH, 5)
    assert mmio.run(batch).words[before] == 0
    assert mmio.run(batch).words[before] == 5


def test_64_bit_accesses(mmio):
    mmio.write64(BOOST_ADDR, 0x0123456789ABCDEF)
    assert mmio.read64(BOOST_ADDR) == 0x0123456789ABCDEF
    batch = Batch()
    batch.write64(BOOST_ADDR, 0xFEDCBA9876543210)
    slot = batch.read64(BOOST_ADDR)
    words = mmio.run(batch).words
    assert (int(words[slot]), int(words[slot + 1])) == (0x76543210, 0xFEDCBA98)


def test_bus_error_in_a_batch_says_where(mmio):
    batch = Batch()
    batch.write(SCRATCH, 1)
    batch.read(SCRATCH)
    batch.read(UNMAPPED)
    batch.write(SCRATCH, 2)
    with pytest.raises(BusError) as caught:
        mmio.run(batch)
    assert (caught.value.position, caught.value.offset, caught.value.is_write) == (2, UNMAPPED, False)
    assert mmio.read32(SCRATCH) == 1, "what is before it took effect, the write behind it was not made"


def test_write_error_in_a_batch_says_where(mmio):
    batch = Batch()
    batch.write(SCRATCH, 3)
    batch.write(DEVICE_ID, 0)
    batch.write(SCRATCH, 4)
    with pytest.raises(BusError, match="write to offset 0x40") as caught:
        mmio.run(batch)
    assert (caught.value.position, caught.value.is_write) == (1, True)
    assert mmio.read32(SCRATCH) == 3


def test_error_within_a_burst_names_the_word(mmio):
    batch = Batch()
    batch.read(SCRATCH)
    batch.burst(ERROR, 4) if isinstance(mmio, PlainMmio) else batch.burst(UNMAPPED - 8, 4)
    with pytest.raises(BusError) as caught:
        mmio.run(batch)
    assert caught.value.position == 1
    assert caught.value.offset == (ERROR + 4 if isinstance(mmio, PlainMmio) else UNMAPPED - 8)


def test_drain_of_a_plain_target():
    mmio = PlainMmio()
    mmio.queue = [0x5_8000_0001, 0x6_8000_0002]
    batch = Batch()
    batch.drain(COMPLETION)
    batch.drain(COMPLETION)
    assert mmio.run(batch).records.tolist() == [0x5_8000_0001, 0x6_8000_0002]


def test_a_drain_without_end(mmio):
    """A register whose "valid bit" never clears: the batch ends there, and the device is as good as before."""
    batch = Batch()
    batch.write64(BOOST_ADDR, 1 << 31)
    batch.drain(BOOST_ADDR)
    batch.write(SCRATCH, 5)
    with pytest.raises(TargetError, match=f"records at offset {BOOST_ADDR:#x} do not end"):
        mmio.run(batch)
    assert mmio.read32(SCRATCH) == 0
    mmio.write32(SCRATCH, 6)
    assert mmio.read32(SCRATCH) == 6 and mmio.read32(BOOST_ADDR) == 1 << 31


def test_blocks_from_a_plain_target():
    mmio = PlainMmio()
    mmio.memory_write(100, b"abcdef")
    assert mmio.memory_read_blocks(np.array([100, 102], np.uint64), 3).tobytes() == b"abccde"


# ---- the simulator --------------------------------------------------------------------------------------------------


def test_single_accesses(sim):
    sim.write32(SCRATCH, 0xDEADBEEF)
    assert sim.read32(SCRATCH) == 0xDEADBEEF
    assert sim.read32(DEVICE_ID) == 0x4B564350
    assert sim.read64(REGISTERS["BUILD_ID"].offset) == sim.build_id
    with pytest.raises(UsageError, match="does not fit"):
        sim.write32(SCRATCH, 1 << 32)


@pytest.mark.parametrize(
    "offset", [UNMAPPED, SCRATCH + 1, SCRATCH + 2, 0x0030_0000, SPACE_BYTES - 4, SPACE_BYTES, 0x7FFF_FFFC]
)
def test_every_bad_offset_is_a_bus_error(sim, offset):
    with pytest.raises(BusError):
        sim.read32(offset)
    with pytest.raises(BusError):
        sim.write32(offset, 1)
    assert sim.read32(SCRATCH) == 0


def test_writing_the_directory_is_a_bus_error(sim):
    with pytest.raises(BusError):
        sim.write32(BAR2_ENTRIES, 1)


def test_reads_are_pipelined(sim):
    words = 4096
    before = sim.clock_cycles
    sim.read_burst(BAR2_ENTRIES, 1)
    single = sim.clock_cycles - before
    before = sim.clock_cycles
    data = sim.read_burst(BAR2_ENTRIES, 8 * 256)
    assert len(data) == 8 * 256 and not data.any()
    assert sim.clock_cycles - before < 8 * 256 * single, f"{words} words took as long as one by one"


def evict_three_blocks(sim) -> np.ndarray:
    """The completion records of an EVICT over three tier-1 blocks, taken by one drain; a second drain takes none."""
    device = Device(sim)
    size = device.block_bytes
    for n in range(3):
        assert device.execute(Load(1, 0, 0, 32 * n, 32 * n + 31, va=n * size)).code == "OK"
    batch = Batch()
    batch.write64(REGISTERS["IMEVICT_ADDR"].offset, 0)
    batch.write64(REGISTERS["IMEVICT_LEN"].offset, 3 * size)
    batch.wait_idle()
    batch.drain(COMPLETION)
    batch.drain(COMPLETION)
    return sim.run(batch).records


@pytest.mark.parametrize("doorbell", [register for register in REGISTERS.values() if register.doorbell], ids=lambda r: r.name)
def test_status_knows_of_a_doorbell_at_once(sim, doorbell):
    """R4: a bus master that is faster than the command on its way to the queue sees "busy" or the result, and never neither."""
    batch = Batch()
    batch.write(doorbell.offset + doorbell.width // 8 - 4, 9)
    for _ in range(6):
        batch.read(REGISTERS["STATUS"].offset)
    batch.wait_idle()
    batch.read(REGISTERS["STATUS"].offset)
    status = [int(word) for word in sim.run(batch).words]
    assert all(word & 1 or word >> 5 & 1 for word in status), [hex(word) for word in status]
    while sim.read32(REGISTERS["STATUS"].offset) >> 5 & 1:
        sim.read32(REGISTERS["RESULT_CYCLES"].offset)


def test_drain_takes_every_record(sim):
    records = evict_three_blocks(sim)
    assert (records & 0xFFFF).tolist() == [0, 1, 2]
    assert sim.read32(REGISTERS["COMPLETION_LEVEL"].offset) == 0


def test_memory_error_reaches_the_host(sim):
    """The block whose memory answers SLVERR stays where it was; its record and ERROR say so, the others move."""
    bad = sim.read64(REGISTERS["TIER_BASE1"].offset) + sim.read32(REGISTERS["CAP_BLOCK_BYTES"].offset)
    sim.memory_fault(bad, bad)
    try:
        records = evict_three_blocks(sim)
    finally:
        sim.memory_fault(0, 0, reads=False, writes=False)
    failed = records >> REGISTERS["COMPLETION"].fields["error"].low & 1
    assert failed.tolist() == [0, 1, 0]
    assert sim.read32(ERROR) >> REGISTERS["ERROR"].fields["dma"].low & 1
    tiers = sim.read_burst(BAR2_ENTRIES, 24).reshape(3, 8)[:, 3] & 3
    assert tiers.tolist() == [2, 1, 2]


def test_wait_has_a_budget(sim):
    sim.reset(wait=False)
    with pytest.raises(IdleTimeout, match="still busy after 5 cycles"):
        sim.wait_idle(5)
    assert sim.wait_idle() > 1
    assert sim.wait_idle() == 2, "idle is believed when it holds for two cycles"


def test_clock_runs(sim):
    before = sim.clock_cycles
    sim.clock(1000)
    batch = Batch()
    batch.clock(500)
    sim.run(batch)
    assert sim.clock_cycles - before == 1500


def test_memory(sim):
    sim.memory_write(4090, b"across two pages")
    assert sim.memory_read(4090, 16) == b"across two pages"
    assert sim.memory_read(1 << 40, 8) == bytes(8), "unwritten memory is zero"
    top = (1 << 64) - 3
    sim.memory_write(top, b"top")
    blocks = sim.memory_read_blocks(np.array([4090, top, 4097], np.uint64), 3)
    assert [block.tobytes() for block in blocks] == [b"acr", b"top", b"two"]
    assert sim.memory_read_blocks(np.array([], np.uint64), 3).shape == (0, 3)
    for addr, size in ((top, 4), (-1, 1)):
        with pytest.raises(UsageError, match="outside"):
            sim.memory_read(addr, size)


def test_memory_survives_a_reset(sim):
    sim.memory_write(0x1234, b"still here")
    sim.reset()
    assert sim.memory_read(0x1234, 10) == b"still here"


def test_closed_simulator_says_so():
    from kvfpga.transport.sim.verilated import VerilatorSim

    sim = VerilatorSim(entries=256, lanes=4, data_bits=128)
    sim.close()
    sim.close()
    for use in (lambda: sim.read32(SCRATCH), lambda: sim.memory_read(0, 1), lambda: sim.run(Batch())):
        with pytest.raises(TargetError, match="closed"):
            use()


def test_signals_through_pyverilator(sim):
    sim.write32(SCRATCH, 0xC0FFEE)
    io = sim.sim.io
    assert {"clk", "rst", "s_axil_araddr", "m_axi_wdata", "lookup_key", "idle"} <= set(dir(io))

    def cycle():
        io.clk = 0
        sim.sim.eval()
        answered, word = int(io.s_axil_rvalid), int(io.s_axil_rdata)
        accepted = int(io.s_axil_arready) and int(io.s_axil_arvalid)
        io.clk = 1
        sim.sim.eval()
        if accepted:
            io.s_axil_arvalid = 0
        return word if answered else None

    io.s_axil_araddr, io.s_axil_arvalid, io.s_axil_rready = SCRATCH, 1, 1
    words = [cycle() for _ in range(20)]
    assert [word for word in words if word is not None] == [0xC0FFEE]
    io.lookup_key = 0x0123456789ABCDEF_FEDCBA9876543210  # wider than any C type
    assert int(io.lookup_key) == 0x0123456789ABCDEF_FEDCBA9876543210
    io.lookup_key = 0
    assert sim.read32(SCRATCH) == 0xC0FFEE, "and the bus master goes on from there"


# ---- recording ------------------------------------------------------------------------------------------------------


def exercise(mmio: Mmio) -> None:
    """Some of every call that a recording knows."""
    mmio.write32(SCRATCH, 7)
    mmio.read32(SCRATCH)
    mmio.write64(BOOST_ADDR, 1 << 40)
    mmio.read64(BOOST_ADDR)
    mmio.read_burst(DEVICE_ID, 1)
    mmio.write_burst(SCRATCH, [9])
    batch = Batch()
    batch.write(SCRATCH, 8)
    batch.write64(BOOST_ADDR, 5 << 32)
    batch.burst(BOOST_ADDR, 2)
    batch.wait_idle()
    batch.drain(COMPLETION)
    mmio.run(batch)
    batch.read(UNMAPPED)
    with pytest.raises(BusError):
        mmio.run(batch)
    mmio.memory_write(0xC040, b"bytes")
    mmio.memory_read(0xC040, 5)
    mmio.memory_read(0xC000, 8192)
    mmio.memory_read_blocks(np.array([0xC040, 0xC042], np.uint64), 2)
    mmio.wait_idle()


def test_recording_replays_without_a_difference(mmio, tmp_path):
    recorder = RecordingMmio(mmio, tmp_path / "calls.jsonl")
    exercise(recorder)
    recorder.flush()
    calls = [json.loads(line) for line in open(tmp_path / "calls.jsonl")]
    assert [call["call"] for call in calls][:3] == ["open", "write32", "read32"]
    assert calls[2] == {"call": "read32", "offset": SCRATCH, "answer": 7}
    assert [call["error"] for call in calls if "error" in call] == ["BusError"]
    other = PlainMmio()
    other.registers = dict.fromkeys([*other.registers, BOOST_ADDR + 4], 0) | {DEVICE_ID: 0x4B564350}
    assert replay_recording(other, tmp_path / "calls.jsonl") == [], "another target answers the same"


def test_replay_shows_the_first_wrong_answer(tmp_path):
    recorder = RecordingMmio(PlainMmio(), tmp_path / "calls.jsonl")
    exercise(recorder)
    recorder.close()
    other = PlainMmio()
    other.registers[DEVICE_ID] = 1
    (difference,) = replay_recording(other, tmp_path / "calls.jsonl")
    assert difference == (6, "read_burst", [0x4B564350], [1])


def test_a_long_write_is_recorded_in_lines_that_can_be_made_again(tmp_path, monkeypatch):
    assert 2 * recording.PART + 1000 < recording.LONGEST
    monkeypatch.setattr(recording, "PART", 64)
    monkeypatch.setattr(recording, "LONGEST", 250)
    data = bytes(range(200))
    recorder = RecordingMmio(PlainMmio(), tmp_path / "calls.jsonl")
    recorder.memory_write(0xC040, data)
    recorder.memory_write(0, b"")
    assert recorder.inner.memory_read(0xC040, 200) == data
    recorder.close()
    other = PlainMmio()
    assert replay_recording(other, tmp_path / "calls.jsonl") == [] and other.memory_read(0xC040, 200) == data


def test_recording_passes_the_rest_through(sim, tmp_path):
    recorder = RecordingMmio(sim, tmp_path / "calls.jsonl")
    assert recorder.build_id == sim.build_id
    assert recorder.clock_cycles == sim.clock_cycles
    assert recorder.name == "sim"


@pytest.mark.parametrize("wrapped", [RecordingMmio, lambda inner: TellingMmio(inner, hex)], ids=["recording", "telling"])
def test_what_stands_in_front_of_a_target_is_as_the_target_is(wrapped):
    class Narrow(PlainMmio):
        blank_memory, reaches_memory, takes_all = True, False, False
        most = None

        def check_write(self, offset, value, alone):
            raise UsageError(f"{value} at {offset}, {alone}")

        def bound_memory(self, most):
            self.most = most

    inner = Narrow()
    outer = wrapped(inner)
    assert (outer.blank_memory, outer.reaches_memory, outer.takes_all) == (True, False, False)
    with pytest.raises(UsageError, match="2 at 1, True"):
        outer.check_write(1, 2, True)
    outer.bound_memory(4096)
    outer.unwanted = bool
    assert (inner.most, inner.unwanted) == (4096, bool)


@pytest.mark.parametrize("line", [
    "{", "[]", '{"call": "fly"}', '{"offset": 1}', '{"call": ["read32"]}', '{"call": "read32"}', "é",
    '{"call": ' + "[" * 100_000, '{"call": "run", "ops": [["READ"]]}', '{"call": "memory_write", "addr": 0, "data": "x"}',
])  # fmt: skip
def test_not_a_recording(tmp_path, line):
    (tmp_path / "calls.jsonl").write_bytes(line.encode("latin-1") + b"\n")
    with pytest.raises(UsageError, match="calls.jsonl:1 is not a line of a recording"):
        replay_recording(PlainMmio(), tmp_path / "calls.jsonl")
