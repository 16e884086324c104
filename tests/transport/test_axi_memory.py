"""The memory model and bus master of fpga/sim against a probe that keeps or breaks the AXI rules on purpose
(axi_probe.sv)."""

from pathlib import Path

import pytest

from kvfpga.contract.errors import BusError, TargetError
from kvfpga.transport.mmio import Batch
from kvfpga.transport.sim.verilated import VerilatorSim

PROBE = [Path(__file__).parent / "axi_probe.sv"]
BEAT = 16
GO, ADDR, LEN, STROBES, RESPONSE, RESULT, SILENT = 0x00, 0x08, 0x10, 0x14, 0x20, 0x24, 0x7F0
READ, DATA_FIRST = 1, 2
OKAY, SLVERR, DECERR = 0, 2, 3


def open_probe(**options) -> VerilatorSim:
    return VerilatorSim(entries=256, lanes=4, data_bits=8 * BEAT, sources=PROBE, **options)


@pytest.fixture
def probe():
    with open_probe(latency=(0, 8), stall_percent=40) as probe:
        yield probe


def burst(probe, mode: int, addr: int, beats: int = 4, strobes: int = 0xFFFFFFFF) -> int:
    """One burst; its response."""
    batch = Batch()
    batch.write64(ADDR, addr)
    batch.write(LEN, beats - 1)
    batch.write(STROBES, strobes)
    batch.write(GO, mode)
    batch.wait_idle()
    batch.read(RESPONSE)
    return int(probe.run(batch).words[0])


def beats(count: int) -> bytes:
    return b"".join(bytes([n + 1]) * BEAT for n in range(count))


@pytest.mark.parametrize("stall", [0, 40, 90])
@pytest.mark.parametrize("mode", [0, DATA_FIRST])
def test_written_bytes_are_there(mode, stall):
    with open_probe(latency=(0, 30), stall_percent=stall) as probe:
        assert burst(probe, mode, 0x1_2345_6000 + 64, 200) == OKAY
        assert probe.memory_read(0x1_2345_6000 + 64, 200 * BEAT) == beats(200)
        assert probe.memory_read(0x1_2345_6000, 64) == bytes(64)


def test_strobes_choose_bytes(probe):
    probe.memory_write(0x4000, b"\xaa" * 64)
    assert burst(probe, 0, 0x4000, 2, 0x00F1_00F1) == OKAY
    expected = bytearray(b"\xaa" * 64)
    for beat in range(2):
        for byte in (0, 4, 5, 6, 7):
            expected[beat * BEAT + byte] = beat + 1
    assert probe.memory_read(0x4000, 64) == bytes(expected)


def test_read_sees_the_memory(probe):
    probe.memory_write(0x4000 + 3 * BEAT, b"\x78\x56\x34\x12")
    assert burst(probe, READ, 0x4000, 4) == OKAY
    assert probe.read32(RESULT) == 0x12345678


def test_top_of_the_address_space(probe):
    top = (1 << 64) - 4 * BEAT
    assert burst(probe, 0, top, 4) == OKAY
    assert probe.memory_read(top, 4 * BEAT) == beats(4)


def test_beyond_the_limit_is_decerr(probe):
    probe.memory_limit(0x4000 + 4 * BEAT - 2)
    assert burst(probe, READ, 0x4000, 4) == DECERR
    assert burst(probe, 0, 0x4000, 4) == DECERR
    assert probe.memory_read(0x4000, 4 * BEAT) == bytes(4 * BEAT)
    assert burst(probe, 0, 0x4000, 3) == OKAY


def test_injected_faults_are_slverr(probe):
    probe.memory_fault(0x4020, 0x4020)
    assert burst(probe, READ, 0x4000, 4) == SLVERR
    assert burst(probe, 0, 0x4000, 4) == SLVERR
    assert probe.memory_read(0x4000, 4 * BEAT) == bytes(4 * BEAT)
    assert burst(probe, READ, 0x4000, 2) == OKAY
    probe.memory_fault(0x4020, 0x4020, writes=False)
    assert burst(probe, 0, 0x4000, 4) == OKAY
    assert burst(probe, READ, 0x4000, 4) == SLVERR
    probe.memory_fault(0, 0, reads=False, writes=False)
    assert burst(probe, READ, 0x4000, 4) == OKAY


def test_latency_is_what_was_asked_for():
    cycles = {}
    for latency in (0, 500):
        with open_probe(latency=(latency, latency)) as probe:
            probe.write32(LEN, 99)
            probe.write64(ADDR, 0)
            probe.write32(GO, READ)
            cycles[latency] = probe.wait_idle()
    assert 100 <= cycles[0] <= 105, "one beat per cycle"
    assert cycles[500] == cycles[0] + 500


def test_same_seed_same_run():
    def run(seed: int) -> int:
        with open_probe(latency=(0, 20), stall_percent=30, seed=seed) as probe:
            for n in range(10):
                burst(probe, n % 2, 0x1000 * n, 100)
            return probe.clock_cycles

    assert run(1) == run(1) != run(2)


@pytest.mark.parametrize(
    ("rule", "mode", "message"),
    [
        (1, 0, "on AW: VALID dropped before READY"),
        (1, READ, "on AR: VALID dropped before READY"),
        (2, 0, "on AW: payload changed before READY"),
        (2, READ, "on AR: payload changed before READY"),
        (3, 0, "on AW: burst type is not INCR"),
        (3, READ, "on AR: burst type is not INCR"),
        (4, 0, "on AW: beat size is not the bus width"),
        (4, READ, "on AR: beat size is not the bus width"),
        (5, 0, "on W: WLAST not on the last beat"),
        (6, 0, "on W: WLAST missing on the last beat"),
        (7, 0, "on W: VALID dropped before READY"),
        (8, 0, "on W: payload changed before READY"),
    ],
)
def test_broken_rule_ends_the_simulation(rule, mode, message):
    with open_probe(stall_percent=90) as probe:
        with pytest.raises(TargetError, match=message):
            for _ in range(10):  # a rule about waiting shows only where the memory makes the probe wait
                burst(probe, rule << 4 | mode, 0x4000, 100)
        with pytest.raises(TargetError, match=message):
            probe.read32(RESPONSE)


@pytest.mark.parametrize("mode", [0, READ])
@pytest.mark.parametrize(
    ("addr", "message"), [(0x5000 - 48, "crosses a 4 KiB boundary"), (0x4008, "not aligned to the bus width")]
)
def test_bad_address_ends_the_simulation(probe, mode, addr, message):
    with pytest.raises(TargetError, match=message):
        burst(probe, mode, addr, 4)


def test_fatal_in_the_rtl_is_an_error_with_its_text(probe, capfd):
    with pytest.raises(TargetError, match="the probe was told to stop"):
        probe.write32(GO, 9 << 4)
    assert not capfd.readouterr().out, "stdout belongs to the results"
    with pytest.raises(TargetError, match="the probe was told to stop"):
        probe.reset()


def test_a_failed_assertion_says_what_where_and_when(probe):
    said = r"(?m)assertion keeps_rules of axi_probe failed in kvcpu: the probe breaks no rule \(cycle [1-9]\d*\)$"
    with pytest.raises(TargetError, match=said):
        probe.write32(GO, 10 << 4)
    with pytest.raises(TargetError, match=said):
        probe.read32(RESULT)


def test_the_fast_model_checks_no_assertions(probe, monkeypatch):
    monkeypatch.delenv("KVFPGA_ASSERTIONS")
    with open_probe() as fast:
        assert fast.model.key != probe.model.key and fast.build_id == probe.build_id
        assert burst(fast, 10 << 4, 0x4000) == OKAY


def test_silent_device_is_an_error_until_a_reset(probe):
    probe.set_watchdog(1000)
    with pytest.raises(TargetError, match="does not answer a read of offset 0x7f0"):
        probe.read32(SILENT)
    with pytest.raises(TargetError, match="until a reset"):
        probe.read32(RESPONSE)
    probe.reset()
    probe.read32(RESPONSE)


def test_bus_errors_have_offset_and_direction(probe):
    with pytest.raises(BusError, match="read of offset 0x100: SLVERR") as caught:
        probe.read32(0x100)
    assert (caught.value.offset, caught.value.is_write) == (0x100, False)
    with pytest.raises(BusError, match="write to offset 0x100: SLVERR") as caught:
        probe.write32(0x100, 0)
    assert (caught.value.offset, caught.value.is_write) == (0x100, True)


def test_checkpoint_in_the_middle_of_a_burst(tmp_path):
    with open_probe(latency=(0, 20), stall_percent=60, seed=3) as probe:
        probe.write64(ADDR, 0x4000)
        probe.write32(LEN, 199)
        probe.write32(STROBES, 0xFFFFFFFF)
        probe.write32(GO, 0)
        probe.clock(150)
        probe.save(tmp_path / "checkpoint")
        rest = probe.wait_idle()
        with open_probe(restore=tmp_path / "checkpoint") as other:
            assert other.memory_read(0x4000, 200 * BEAT) == bytes(200 * BEAT), "bytes arrive with the response"
            assert other.wait_idle() == rest
            assert other.clock_cycles == probe.clock_cycles
            assert other.memory_read(0x4000, 200 * BEAT) == beats(200)
            for sim, name in ((probe, "a"), (other, "b")):
                sim.save(tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
