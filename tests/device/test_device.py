"""device.py: commands as register accesses, answers taken apart, and devices that cannot be trusted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kvfpga.contract import commands as cmd
from kvfpga.contract.commands import Result, Trigger
from kvfpga.contract.errors import BusError, DeviceRefused, TargetError, UsageError
from kvfpga.device.answers import RESULT_WORDS
from kvfpga.device.codec import commands_of, writes
from kvfpga.device.device import Device, Look
from kvfpga.device.entries import decode_entries
from kvfpga.device.regmap import DOORBELLS, ENTRY_FIELDS, PTABLE, REGISTERS, TELEMETRY
from kvfpga.transport.mmio import Batch
from tests.helpers.fake_device import FakeDevice

BLOCK = 16384


def block(n: int, request: int = 1) -> cmd.Load:
    return cmd.Load(request, 2, 3, 32 * n, 32 * n + 31, 0x7F000000 + BLOCK * n)


@pytest.fixture
def fake():
    return FakeDevice()


@pytest.fixture
def device(fake):
    return Device(fake)


# ---- what the register map must be for the bursts to be right ------------------------------------------------------
def test_r5_the_result_registers_lie_side_by_side_and_end_with_the_one_that_pops():
    names = [r.name for r in REGISTERS.values() if r.name.startswith("RESULT_")]
    assert names == ["RESULT_STATUS", "RESULT_MATCHED", "RESULT_PHYS", "RESULT_INDEX", "RESULT_CYCLES"]
    first, last = REGISTERS["RESULT_STATUS"].offset, REGISTERS["RESULT_CYCLES"].offset
    assert last - first == 4 * (RESULT_WORDS - 1)


def test_r23_telemetry_is_one_burst():
    offsets = [r.offset for r in REGISTERS.values() if r.telemetry]
    assert offsets == list(range(offsets[0], offsets[0] + 8 * len(TELEMETRY), 8))
    assert [r.telemetry for r in REGISTERS.values() if r.telemetry] == list(TELEMETRY)


# ---- commands → writes ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "command, expected",
    [
        (cmd.Step(7), [("STEP_FAST", 7)]),
        (cmd.Step(1 << 32), [("STEP_ADVANCE", 1 << 32)]),
        (cmd.Hot(1, 2), [("BOOST_ADDR", 1), ("BOOST_LEN", 2)]),
        (cmd.Evict(1, 2), [("IMEVICT_ADDR", 1), ("IMEVICT_LEN", 2)]),
        (cmd.Prefetch(1, 2, 3), [("PREFETCH_ADDR", 1), ("PREFETCH_LEN", 2), ("PREFETCH_STEP", 3)]),
        (cmd.Share(1, 2), [("SHARE_ADDR", 1), ("SHARE_LEN", 2)]),
        (cmd.Release(1, 2), [("RELEASE_ADDR", 1), ("RELEASE_LEN", 2)]),
        (cmd.Unload(1, 2), [("UNLOAD_ADDR", 1), ("UNLOAD_LEN", 2)]),
        (cmd.UnloadRequest(9), [("UNLOAD_ID", 9)]),
        (cmd.ShareIndex(4), [("RTBD_SHARE", 4)]),
        (cmd.ReleaseIndex(4), [("RTBD_RELEASE", 4)]),
        (cmd.Lookup(0xA001, 12, 3, 40), [("LOOKUP_ID", 0x0C03A001), ("LOOKUP_POS", 40)]),
        (cmd.Touch(0xA001, 12, 3, 40), [("TOUCH_HINT", 0), ("LOOKUP_ID", 0x0C03A001), ("TOUCH_POS", 40)]),
        (
            cmd.Touch(0xA001, 12, 3, 40, cmd.hint_of(7, 9)),
            [("TOUCH_HINT", 0x10907), ("LOOKUP_ID", 0x0C03A001), ("TOUCH_POS", 40)],
        ),
        (
            cmd.Class(1, 2, 7, 9, 3),
            [("CLASS_ADDR", 1), ("CLASS_LEN", 2), ("CLASS_ID", 7), ("CLASS_ORDER", 0x00030009)],
        ),
        (
            cmd.Class(1, 2, 7, 1 << 16, 1 << 40),
            [("CLASS_ADDR", 1), ("CLASS_LEN", 2), ("CLASS_ID", 7), ("CLASS_ORDER", 0xFFFFFFFF)],
        ),
        (cmd.Set("WEIGHT_R", 48), [("WEIGHT_R", 48)]),
        (cmd.Set("STRICT", 0), [("CTRL", 0)]),
        (cmd.Set("STRICT", 1), [("CTRL", 4)]),
        (cmd.Set("CLEAR_COUNTERS", 0), [("CTRL", 6)]),
        (
            cmd.Load(0xA001, 12, 3, 32, 63, 0x7F005000, 2),
            [("TOUCH_HINT", 0), ("LOAD_ID", 0x0C03A001), ("LOAD_TOKEN_START", 32), ("LOAD_VA", 0x7F005000),
            ("LOAD_TOKEN_END", 63), ("LOAD_TIER", 2)],
        ),
    ],
)  # fmt: skip
def test_r3_each_command_ends_in_its_doorbell(command, expected):
    assert writes(command) == expected


def test_every_doorbell_of_the_map_has_a_command(fake, device):
    """Except DIGEST, which is `Device.digest`, and STEP's for user space, which is beside a driver's (D35)."""
    commands = [
        cmd.Step(1), cmd.Step(1 << 32), cmd.Hot(1, 2), cmd.Evict(1, 2), cmd.Prefetch(1, 2, 3), cmd.Share(1, 2),
        cmd.Release(1, 2), cmd.Unload(1, 2), cmd.UnloadRequest(9), cmd.ShareIndex(4), cmd.ReleaseIndex(4), block(0),
        cmd.Lookup(1, 2, 3, 4), cmd.Touch(1, 2, 3, 4), cmd.Class(1, 2, 3), cmd.Score(1, 2, 3, 4, 5),
    ]  # fmt: skip
    rung = {writes(command)[-1][0] for command in commands}
    assert rung == {r.name for r in REGISTERS.values() if r.doorbell} - {"DIGEST_END", "RING_STEP", "RING_STEP_FAST"}


@pytest.mark.parametrize(
    "name", ["WINDOW", "T1_CAPACITY", "EVICT_TIER", "CONTEND_POLICY", "POLICY", "FILL_AGE", "PTABLE_COMMIT"]
)
def test_r6_a_value_wider_than_its_register_is_refused_and_never_cut(fake, device, name):
    assert device.execute(cmd.Set(name, (1 << 32) + 2)).code == "ERR_RANGE"
    assert fake.writes[-1] == (name, 0xFFFFFFFF)


@pytest.mark.parametrize(
    "command",
    [
        cmd.Load(1 << 16, 0, 0, 0, 31, 0),
        cmd.Load(0, 256, 0, 0, 31, 0),
        cmd.Lookup(0, 0, 256, 0),
        cmd.Load(0, 0, 0, 1 << 32, (1 << 32) + 31, 0),
        cmd.Set("NOTHING", 1),
        cmd.Set("STRICT", 2),
    ],
)
def test_what_no_register_can_hold_never_reaches_the_device(fake, device, command):
    with pytest.raises(UsageError):
        device.execute(command)
    assert fake.writes == []


def test_clearing_the_counters_leaves_strict_as_it_is(device):
    device.execute_many([cmd.Set("STRICT", 0), cmd.Set("CLEAR_COUNTERS", 0)])
    assert device.settings()["STRICT"] == 0
    device.execute(cmd.Set("CLEAR_COUNTERS", 0))
    assert device.settings()["STRICT"] == 0


# ---- answers -------------------------------------------------------------------------------------------------------
def test_a_lookup_names_tier_and_address_a_load_only_the_index(device):
    assert device.execute(block(0)) == Result("OK", 1, 0)
    assert device.execute(cmd.Lookup(1, 2, 3, 5)) == Result("OK", 1, 0, (), 1, 256 * BLOCK)
    assert device.execute(cmd.Lookup(1, 2, 3, 99)) == Result("OK", 0)


def test_a_refusal_is_a_result(device):
    assert device.execute(cmd.Hot(0, 0)) == Result("ERR_LEN")


def test_cycles_are_the_devices(device):
    assert device.execute(cmd.Step(1)).cycles == 42


def test_r16_triggers_come_in_index_order_however_the_memory_finished_them(device):
    device.execute_many([block(n) for n in range(5)])
    result = device.execute(cmd.Step(1))
    assert result.triggers == tuple(Trigger(n, "evict", 1, 2) for n in range(5))


def test_each_command_of_a_batch_keeps_its_own_triggers(device):
    commands = [block(0), block(1), cmd.Evict(0x7F000000, 1), cmd.Hot(0x7F000000, 1), cmd.Evict(0x7F000000 + BLOCK, 1)]
    triggers = [result.triggers for result in device.execute_many(commands)]
    assert triggers == [(), (), (Trigger(0, "evict", 1, 2),), (), (Trigger(1, "evict", 1, 2),)]


def test_execute_checked_is_one_batch(fake, device, monkeypatch):
    runs = []
    plain = fake.run
    monkeypatch.setattr(fake, "run", lambda batch: runs.append(batch) or plain(batch))
    result, telemetry, digest = device.execute_checked(block(0))
    assert len(runs) == 1
    assert result.index == 0
    assert list(telemetry) == list(TELEMETRY)
    assert telemetry["valid_entries"] == 1
    assert digest == fake.model.digest() != 0


def test_digest_of_a_range_and_of_none(fake, device):
    device.execute_many([block(n) for n in range(8)])
    assert device.digest(2, 5) == fake.model.digest(2, 5)
    assert device.digest(3, 3) == 0
    with pytest.raises(DeviceRefused, match="ERR_RANGE"):
        device.digest(0, 257)


def test_entries_read_back_in_pieces_are_whole(fake, device, monkeypatch):
    monkeypatch.setattr("kvfpga.device.device.BURST_ENTRIES", 3)
    device.execute_many([block(n) for n in range(8)])
    raw, vas = device.read_entries(1, 9)
    expected = fake.model.read_entries(1, 9)
    assert (raw == expected[0]).all() and (vas == expected[1]).all()


def test_every_field_of_an_entry_is_decoded_from_its_own_bits():
    """One field all ones at a time, the others zero."""
    raw = np.zeros((len(ENTRY_FIELDS), 8), np.uint32)
    for row, (low, width) in enumerate(ENTRY_FIELDS.values()):
        for bit in range(low, low + width):
            raw[row, bit // 32] |= 1 << bit % 32
    fields = decode_entries(raw)
    for row, (name, (_, width)) in enumerate(ENTRY_FIELDS.items()):
        assert int(fields[name][row]) == (1 << width) - 1
        assert all(int(fields[other][row]) == 0 for other in fields if other != name)


def test_soft_reset_gives_the_reset_values(device):
    device.execute_many([block(0), cmd.Set("WEIGHT_R", 99)])
    device.soft_reset()
    assert device.telemetry()["valid_entries"] == 0
    assert device.settings()["WEIGHT_R"] == 1


# ---- devices that cannot be trusted (R4) ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "constants, message",
    [
        ({"DEVICE_ID": 0xFFFFFFFF}, "dead link"),
        ({"DEVICE_ID": 0x12345678}, "0x12345678, not as a KV-CPU"),
        ({"REGMAP_HASH": 1}, "register map 0x00000001"),
        ({"VERSION": 0x00030000}, "register map"),
    ],
)
def test_r4_a_stranger_is_refused_before_anything_else(constants, message):
    with pytest.raises(TargetError, match=message) as error:
        Device(FakeDevice(**constants))
    assert error.value.remedy


def test_r4_identity(device):
    assert device.identity._asdict() == {
        "version": "2.0", "build_id": 0x1122334455667788, "entries": 256, "lanes": 8, "block_tokens": 32,
        "head_dim": 128,
        "block_bytes": BLOCK, "data_bits": 128, "lookup_ports": 3, "fifo_depth": 16,
        "classes": 256, "nmce": 1, "doorbells": DOORBELLS.start,
    }  # fmt: skip


def test_a_command_without_a_result_is_an_error(fake, device, monkeypatch):
    monkeypatch.setattr(fake, "_run", lambda opcode, command: None)
    with pytest.raises(TargetError, match="left no result for STEP"):
        device.execute(cmd.Step(1))


def test_the_result_of_another_command_is_an_error(fake, device):
    fake.write32(REGISTERS["RTBD_SHARE"].offset, 3)  # somebody else's command, whose result nobody took
    with pytest.raises(TargetError, match="belongs to another command"):
        device.execute(cmd.Step(1))


def test_a_dma_error_is_an_error(fake, device):
    device.execute(block(0))
    monkeyed = fake._run

    def run(opcode, command):
        monkeyed(opcode, command)
        fake.completions[:] = [record | 1 << 21 for record in fake.completions]

    fake._run = run
    with pytest.raises(TargetError, match="DMA of block 0"):
        device.execute(cmd.Step(1))


# ---- several commands in one batch ---------------------------------------------------------------------------------
def test_states_are_read_where_they_are_asked_for(device, fake):
    commands = [block(0), cmd.Step(1), block(1), cmd.Step(2)]
    results, shown = device.run(device.stretches(commands, Look(telemetry=[1, 3], digest=[3])))
    assert [result.code for result in results] == ["OK"] * 4
    assert [state.telemetry["valid_entries"] for state in shown.states] == [1, 2]
    assert [state.telemetry["current_step"] for state in shown.states] == [0, 1]
    assert shown.states[0].digest is None and shown.passed == []
    other = Device(FakeDevice())
    for part, state in zip((commands[:1], commands[1:3]), shown.states):
        other.execute_many(part)
        assert other.telemetry() == state.telemetry
    assert other.digest() == shown.states[1].digest


def test_pass_digest_is_that_of_what_the_step_found(device, fake):
    commands = [block(0), cmd.Step(1), block(1), block(2), cmd.Step(2), cmd.Step(3)]
    results, shown = device.run(device.stretches(commands, Look(telemetry=[2], passed=[1, 4, 5])))
    assert [result.matched for result in results] == [1, 1, 1, 1, 3, 3]
    other, expected = Device(FakeDevice()), []
    for command in commands:
        if isinstance(command, cmd.Step):
            expected.append(other.digest())
        other.execute(command)
    assert shown.passed == expected and len({*expected}) == 3
    assert shown.states[0].telemetry["step_count"] == 1


def test_triggers_belong_to_their_commands(device, fake):
    device.execute_many([block(n) for n in range(6)])
    commands = [cmd.Evict(0x7F000000 + 2 * BLOCK, 2 * BLOCK), cmd.Hot(0, 1), cmd.Prefetch(0x7F000000, 3 * BLOCK, 0)]
    found = [result.triggers for result in device.execute_many(commands)]
    assert found == [
        (Trigger(2, "evict", 1, 2), Trigger(3, "evict", 1, 2)), (), (Trigger(2, "prefetch", 2, 1),),
    ]  # fmt: skip


def test_no_commands_have_no_results(device):
    assert device.execute_many([]) == []
    assert device.execute_many_checked([])[0] == []


def test_a_register_is_written_by_its_name(device, fake):
    batch = Batch()
    device.append_write(batch, "SCRATCH", 7)
    device.append_write(batch, "BOOST_ADDR", 1 << 40)
    device.append_write(batch, "UNLOAD_ID", 1 << 40)
    device.mmio.run(batch)
    assert fake.writes == [("SCRATCH", 7), ("BOOST_ADDR", 1 << 40), ("UNLOAD_ID", 0xFFFFFFFF)]
    with pytest.raises(UsageError, match="SCRATCH is 0x100000000; it has 32 bits, 0 to 0xffffffff"):
        device.append_write(batch, "SCRATCH", 1 << 32)


# ---- the ranked policy -------------------------------------------------------------------------------------------------
def test_r41_the_hint_is_written_where_it_changes(device, fake):
    """It keeps what was last written; what it held before the batch is not believed."""
    hints = [0, 0, cmd.hint_of(1, 2), cmd.hint_of(1, 2), 0]
    commands = [cmd.Touch(1, 2, 3, 0, hint) for hint in hints]
    device.execute_many([*commands, cmd.Lookup(1, 2, 3, 0), block(0)])
    written = [value for name, value in fake.writes if name == "TOUCH_HINT"]
    assert written == [0, hints[2], 0]
    fake.write32(REGISTERS["TOUCH_HINT"].offset, 0x1FFFF)  # another process does
    device.execute(block(1))
    assert [fake.model.entry(n)["class"] for n in range(2)] == [0, 0]


def test_r41_what_a_doorbell_means_has_the_hint_that_is_there(device):
    operands = {"TOUCH_HINT": 0x10203, "LOOKUP_ID": 0x0C03A001}
    found = commands_of(REGISTERS["TOUCH_POS"], 40, operands.__getitem__)
    assert found == [cmd.Touch(0xA001, 12, 3, 40, 0x10203)]


def test_r42_what_its_doorbell_means(device):
    operands = {"CLASS_ADDR": 1, "CLASS_LEN": 2, "CLASS_ID": 7}
    assert commands_of(REGISTERS["CLASS_ORDER"], 0x00030009, operands.__getitem__) == [cmd.Class(1, 2, 7, 9, 3)]


@pytest.mark.parametrize("known", [True, False])
def test_r47_the_triggers_of_ranked_steps_come_evictions_first(device, fake, known):
    """Block 0 comes in and block 1 goes out, at each of three steps alike. The records come as the memory lets them; the policy
    changes within a batch, and is asked for where it is not known."""
    moves = (Trigger(1, "evict", 1, 2), Trigger(0, "prefetch", 2, 1))
    fake.spoil_result = lambda result: replace(result, triggers=moves if result.matched == 2 else ())
    fake.model.execute(block(0))
    fake.model.execute(block(1))
    fake.model.execute(cmd.Set("POLICY", 1))
    if known:
        device.settings()
    commands = [cmd.Step(1), cmd.Set("POLICY", 2), cmd.Step(2), cmd.Set("POLICY", 0), cmd.Step(3), cmd.Set("POLICY", 1)]
    results = device.execute_many(commands)
    assert [results[place].triggers for place in (0, 2, 4)] == [moves, moves, moves[::-1]]
    assert device.execute(cmd.Step(4)).triggers == moves
    assert device.execute(cmd.Hot(0x7F000000, 2 * BLOCK)).triggers == moves[::-1]
    device.soft_reset()
    fake.model.execute(block(0))
    fake.model.execute(block(1))
    assert device.execute(cmd.Step(5)).triggers == moves[::-1]


def test_r45_tables_are_written_and_read_through_the_window(device, fake):
    one, other = np.arange(2 * 16384, dtype=np.uint8).reshape(2, 256, 64)[:, ::-1].copy()
    other ^= 0x55
    device.write_table(one)
    device.execute(cmd.Set("PTABLE_COMMIT", 1))
    device.write_table(other)
    assert (device.read_table() == other).all() and (fake.model.table == one).all()
    found = device.read_tables()
    assert (found[1] == one).all() and (found[0] == other).all()
    assert fake.model.settings()["PTABLE_COMMIT"] == 1 and (fake.model.table == one).all()


def test_r45_a_device_with_fewer_classes_has_a_smaller_window():
    fake = FakeDevice(classes=16)
    device = Device(fake)
    assert device.identity.classes == device.classes == 16
    device.write_table(np.full((16, 64), 7, np.uint8))
    assert (device.read_table() == 7).all()
    for access in (lambda: fake.read32(PTABLE + 16 * 64), lambda: fake.write32(PTABLE + 16 * 64, 0)):
        with pytest.raises(BusError):
            access()
    fits, beyond = (cmd.Class(0, 1, class_id) for class_id in (15, 16))
    assert [device.execute(command).code for command in (fits, beyond)] == ["OK", "ERR_RANGE"]
    touches = [cmd.Touch(1, 0, 0, 0, hint) for hint in (cmd.hint_of(15, 1), cmd.hint_of(16, 1), 0xFF)]
    assert [result.code for result in device.execute_many(touches)] == ["OK", "ERR_RANGE", "OK"]
