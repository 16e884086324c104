"""The Python interface of docs/python.md, on the reference model and on the RTL in lockstep (`dut`)."""

from __future__ import annotations

import re

import numpy as np
import pytest

import kvfpga
from kvfpga.contract import commands as cmd
from kvfpga.contract.commands import EVICT, PREFETCH, Result, Step, Trigger
from kvfpga.contract.entry import DUMP_FIELDS
from kvfpga.contract.errors import DeviceRefused, DifferenceError, KvfpgaError, TargetError, UsageError
from kvfpga.contract.presets import PRESETS
from kvfpga.device.device import Device
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lab.replay import replay
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.lockstep.reference import Reference
from kvfpga.lockstep.surface import ENTRY_DTYPE, Surface
from tests.helpers import pages
from tests.helpers.fake_device import FakeDevice
from tests.helpers.places import DOCS

VA, BLOCK = 0x7F000000, 16384
GUIDE = DOCS / "python.md"


@pytest.fixture
def fake():
    return Lockstep(Device(FakeDevice()), ReferenceModel(256))


# ---- what each method sends ------------------------------------------------------------------------------------------
METHODS = [
    (lambda d: d.load(7, 2, 3, (32, 63), VA, tier=2), cmd.Load(7, 2, 3, 32, 63, VA, 2)),
    (lambda d: d.load(7, 2, 3, range(32, 40), VA), cmd.Load(7, 2, 3, 32, 39, VA, 1)),
    (lambda d: d.step(5), cmd.Step(5)),
    (lambda d: d.hot(VA, 9), cmd.Hot(VA, 9)),
    (lambda d: d.evict(VA, 9), cmd.Evict(VA, 9)),
    (lambda d: d.prefetch(VA, 9, step=50), cmd.Prefetch(VA, 9, 50)),
    (lambda d: d.share(VA, 9), cmd.Share(VA, 9)),
    (lambda d: d.release(VA, 9), cmd.Release(VA, 9)),
    (lambda d: d.unload(VA, 9), cmd.Unload(VA, 9)),
    (lambda d: d.unload_request(7), cmd.UnloadRequest(7)),
    (lambda d: d.lookup(7, 2, 3, 40), cmd.Lookup(7, 2, 3, 40)),
    (lambda d: d.lookup(7, 2, 3, 40, touch=True), cmd.Touch(7, 2, 3, 40)),
    (lambda d: d.clear_counters(), cmd.Set("CLEAR_COUNTERS", 0)),
]


@pytest.mark.parametrize("call, command", METHODS, ids=lambda v: type(v).__name__)
def test_a_method_is_its_command(call, command, monkeypatch):
    dut, sent = Reference(ReferenceModel(256)), []
    monkeypatch.setattr(dut, "execute", lambda command: sent.append(command) or Result("OK", matched=3))
    assert call(dut) == Result("OK", matched=3)
    assert sent == [command]


def test_numpy_numbers_are_numbers(dut):
    dut.load(np.uint16(7), np.uint8(2), np.int64(3), (np.int32(0), np.int32(31)), np.uint64(VA))
    assert dut.hot(np.uint64(VA), np.int64(BLOCK)).matched == 1
    assert dut.step(np.int64(9)).matched == 1
    assert dut.set(T1_CAPACITY=np.int16(5))["T1_CAPACITY"] == 5
    assert dut.block(np.int64(0)).shape == (2, 32, 128)


# ---- a short life ----------------------------------------------------------------------------------------------------
def test_blocks_move_and_keep_their_bytes(dut):
    dut.weights("balanced")
    content = np.arange(BLOCK // 2, dtype=np.uint16).view(np.float16).reshape(2, 32, 128)
    assert dut.load(7, 0, 0, (0, 31), VA, data=content).index == 0
    assert dut.load(7, 0, 0, (32, 63), VA + BLOCK, data=content.tobytes()[::-1]).index == 1
    assert dut.step(400).triggers == (Trigger(0, EVICT, 1, 2), Trigger(1, EVICT, 1, 2))
    found = dut.lookup(7, 0, 0, 33)
    assert (found.index, found.tier, found.matched) == (1, 2, 1)
    assert dut.prefetch(VA, 1, 410).triggers == (Trigger(0, PREFETCH, 2, 1),)
    assert dut.block(0).tobytes() == content.tobytes()
    assert dut.block(1).tobytes() == content.tobytes()[::-1]
    assert dut.lookup(7, 0, 0, 33, touch=True).triggers == (Trigger(1, PREFETCH, 2, 1),)
    assert dut.unload_request(7).matched == 2
    assert dut.lookup(7, 0, 0, 33).index is None
    assert dut.telemetry()["misses"] == 1
    dut.clear_counters()
    assert dut.telemetry()["misses"] == 0 and dut.telemetry()["current_step"] == 400


def test_data_follows_the_block_to_where_it_lands(dut):
    dut.set(T1_CAPACITY=0, EVICT_TIER=3)
    dut.load(1, 0, 0, (0, 31), VA, data=bytes(range(256)) * 64)
    entry = dut.entry(0)
    assert entry["tier"] == 3
    assert dut.memory_read(entry["phys_addr"], 4) == bytes([0, 1, 2, 3])
    dut.verify()


def test_share_holds_a_block(dut):
    dut.load(0, 0, 0, (0, 31), VA)
    assert dut.share(VA, 1).matched == 1
    assert dut.unload(VA, 1).matched == 1 and dut.telemetry()["guards"] == 1
    dut.release(VA, 1)
    assert dut.unload(VA, 1).matched == 1 and dut.dump() == []


def test_the_table_is_the_dump(dut):
    for n in range(5):
        dut.load(n, 255, n, (0, 31), (1 << 64) - BLOCK * (n + 1))
    dut.hot((1 << 64) - BLOCK, BLOCK)
    table, dump = dut.table(), dut.dump()
    assert table.dtype.names == ("index", *DUMP_FIELDS) == tuple(dump[0])
    assert [dict(zip(table.dtype.names, row)) for row in table.tolist()] == dump
    assert table["va"].max() == (1 << 64) - BLOCK and table["pinned"].tolist() == [True] + [False] * 4
    dut.unload(1, (1 << 64) - 1)
    assert dut.table().shape == (0,) and dut.table().dtype == ENTRY_DTYPE


def test_settings(dut):
    assert dut.weights() == PRESETS["seed"]
    assert dut.weights("balanced", window=7) == PRESETS["balanced"] | {"window": 7}
    assert dut.weights(evict=5) == PRESETS["balanced"] | {"window": 7, "evict": 5}
    before = dut.settings()
    assert dut.set(T1_CAPACITY=9, STRICT=0) == before | {"T1_CAPACITY": 9, "STRICT": 0}
    assert dut.set() == dut.settings() == before | {"T1_CAPACITY": 9, "STRICT": 0}


def test_weights_that_wrap_are_warned_of_where_they_are_set(dut):
    with pytest.warns(UserWarning, match="303, above 257") as caught:
        dut.weights(w_r=100)
    with pytest.warns(UserWarning, match="above 257") as more:
        dut.set(WEIGHT_F=2)
    assert caught[0].filename == more[0].filename == __file__


# ---- refusals ----------------------------------------------------------------------------------------------------------
REFUSALS = [
    (lambda d: d.step(8), "ERR_STEP_ORDER"),
    (lambda d: d.step(1 << 32), "ERR_RANGE"),
    (lambda d: d.hot(VA, 0), "ERR_LEN"),
    (lambda d: d.evict((1 << 64) - 1, 2), "ERR_LEN"),
    (lambda d: d.share(VA, 0), "ERR_LEN"),
    (lambda d: d.release(VA, 0), "ERR_LEN"),
    (lambda d: d.unload(VA, 0), "ERR_LEN"),
    (lambda d: d.prefetch(VA, 1, 8), "ERR_STEP_ORDER"),
    (lambda d: d.load(1, 0, 0, (0, 31), VA), "ERR_EXISTS"),
    (lambda d: d.load(2, 0, 0, (1, 31), VA), "ERR_RANGE"),
    (lambda d: d.load(2, 0, 0, (0, 31), VA, tier=4), "ERR_RANGE"),
    (lambda d: d.load(2, 0, 0, (0, 32), VA, data=bytes(BLOCK)), "ERR_RANGE"),
    (lambda d: d.unload_request(1 << 16), "ERR_RANGE"),
    (lambda d: d.set(T1_CAPACITY=5, WEIGHT_R=256), "ERR_RANGE"),
    (lambda d: d.set(T1_CAPACITY=5, EVICT_TIER=3), "ERR_NOT_EMPTY"),
    (lambda d: d.weights(w_r=5, evict=1 << 16), "ERR_RANGE"),
    (lambda d: d.block(1), "ERR_NOT_FOUND"),
    (lambda d: d.block(256), "ERR_NOT_FOUND"),
]


def test_a_refusal_raises_with_the_result_and_changes_nothing(dut):
    dut.load(1, 0, 0, (0, 31), VA)
    dut.step(9)
    before = dut.dump(), dut.settings(), dut.telemetry() | {"busy_cycles": 0, "last_command_cycles": 0}
    for call, code in REFUSALS:
        with pytest.raises(DeviceRefused) as refused:
            call(dut)
        error = refused.value
        assert error.code == code and code in str(error) and error.exit_code == 1
        by_command = code != "ERR_NOT_FOUND"  # no command was sent where `block` finds none
        assert (error.result and error.result.code) == (code if by_command else None)
        after = dut.dump(), dut.settings(), dut.telemetry() | {"busy_cycles": 0, "last_command_cycles": 0}
        assert after == before, str(error)
    assert dut.execute(cmd.Step(8)).code == "ERR_STEP_ORDER"  # returned, not raised


def test_a_refusal_says_what_was_refused(dut):
    with pytest.raises(DeviceRefused, match=r"^hot 0x7f000000 0x0: refused, ERR_LEN: the length is 0"):
        dut.hot(VA, 0)


WRONG = [
    (lambda d: d.step(1.0), "n 1.0 is not a whole number"),
    (lambda d: d.step(-1), "n -1 is negative"),
    (lambda d: d.step(1 << 64), "n 18446744073709551616 does not fit into 64 bits"),
    (lambda d: d.hot("0x7f000000", 1), "va '0x7f000000' is not a whole number"),
    (lambda d: d.hot(VA, None), "length None is not a whole number"),
    (lambda d: d.prefetch(VA, 1, -5), "step -5 is negative"),
    (lambda d: d.load(1 << 16, 0, 0, (0, 31), VA), "request 65536 does not fit into 16 bits"),
    (lambda d: d.load(1, 256, 0, (0, 31), VA), "layer 256 does not fit into 8 bits"),
    (lambda d: d.load(1, 0, 256, (0, 31), VA), "head 256 does not fit into 8 bits"),
    (lambda d: d.load(1, 0, 0, (1 << 32, (1 << 32) + 31), VA), "tokens 4294967296 does not fit into 32 bits"),
    (lambda d: d.load(1, 0, 0, 31, VA), r"tokens 31 are not \(first, last\)"),
    (lambda d: d.load(1, 0, 0, (0, 1, 2), VA), "are not"),
    (lambda d: d.load(1, 0, 0, range(0, 32, 2), VA), "not one token after another"),
    (lambda d: d.load(1, 0, 0, range(0), VA), "not one token after another"),
    (lambda d: d.load(1, 0, 0, (0, 31), VA, data=b"x"), f"data has 1 byte, a block {BLOCK:,}"),
    (lambda d: d.load(1, 0, 0, (0, 31), VA, data=np.zeros((2, 32, 128))), "data holds float64, a block FP16"),
    (lambda d: d.load(1, 0, 0, (0, 31), VA, data=np.zeros(BLOCK // 4, np.float32)), "data holds float32"),
    (lambda d: d.load(1, 0, 0, (0, 31), VA, data=object()), "data holds object"),
    (lambda d: d.lookup(1, 0, 0, 1 << 32), "token_pos 4294967296 does not fit into 32 bits"),
    (lambda d: d.lookup(1, 0, 0, "3"), "token_pos '3' is not a whole number"),
    (lambda d: d.set(T1_CAPACITY=5, WEIGHT_Q=1), "WEIGHT_Q: no such setting"),
    (lambda d: d.set(T1_CAPACITY=5, STRICT=2), r"STRICT is 2; it has 1 bit, 0 to 0x1 \(R22\)"),
    (lambda d: d.set(T1_CAPACITY=5, WINDOW=-1), "WINDOW -1 is negative"),
    (lambda d: d.weights("fast"), "'fast' is not a preset"),
    (lambda d: d.weights(w_q=1), "w_q: no such weight"),
    (lambda d: d.weights("balanced", w_r=0.5), "WEIGHT_R 0.5 is not a whole number"),
    (lambda d: d.block(-1), "index -1 is negative"),
    (lambda d: d.entry(300), "there is no entry 300"),
    (lambda d: d.execute("x"), "'x' is no command"),
    (lambda d: d.execute_many([Step(1), 3]), "3 is no command"),
    (lambda d: d.execute_many(3), "3 is no list of commands"),
    (lambda d: d.execute(Step(1.5)), "Step: step 1.5 must be a whole number"),
    (lambda d: d.read_register("XX"), "'XX' is no register"),
    (lambda d: d.write_register("SCRATCH", 1 << 32), "does not fit into 32 bits"),
    (lambda d: d.read_entries(0, 257), "is not a range of the 256 entries"),
    (lambda d: d.memory_read(0, 1 << 40), "more than the 1,073,741,824 that one read gives"),
    (lambda d: d.memory_write(0, "text"), "data is str, not bytes"),
    (lambda d: replay(d, (line for line in [])), "a trace is named by its path"),
]


def test_what_is_no_value_is_not_sent(dut):
    before = dut.settings(), dut.telemetry()
    for call, message in WRONG:
        with pytest.raises(UsageError, match=message):
            call(dut)
    assert (dut.settings(), dut.telemetry()) == before


def test_an_array_of_another_byte_order_is_converted(dut):
    content = np.arange(BLOCK // 2, dtype="<f2").reshape(2, 32, -1)
    ways = content.astype(">f2"), np.asfortranarray(content), content.view("<u2").astype(">u2")
    for request, data in enumerate(ways, start=1):
        index = dut.load(request, 0, 0, (0, 31), VA * request, data=data).index
        assert dut.block(index).tobytes() == content.tobytes()


def test_a_closed_device_says_so():
    dut = kvfpga.open("model", entries=256)
    dut.close()
    for use in (lambda: dut.step(1), dut.telemetry, dut.dump, lambda: dut.memory_read(0, 1)):
        with pytest.raises(UsageError, match="this device is closed"):
            use()


@pytest.mark.parametrize(
    "arguments",
    [(3,), ("model", "x"), ("model", 256.0), ("model", 256, 1, True, 3), ("model", None, None, True, None, 3)],
)
def test_what_cannot_be_opened(arguments):
    with pytest.raises(UsageError) as caught:
        kvfpga.open(*arguments).close()
    assert caught.value.remedy


def test_a_difference_is_raised_by_the_method(fake):
    fake.step(1)
    fake.device.mmio.model.execute(cmd.Step(3))
    with pytest.raises(DifferenceError) as difference:
        fake.hot(VA, 1)
    assert "current_step" in str(difference.value)
    assert difference.value.report.differences[0].field == "current_step"
    fake.sync()
    assert fake.step(4).code == "OK"


# ---- opening -------------------------------------------------------------------------------------------------------------
def test_open_gives_a_new_device():
    with kvfpga.open("model", entries=512) as dev:
        assert isinstance(dev, Reference) and dev.entries == 512 and not dev.checked
        assert dev.weights() == PRESETS["seed"] and dev.dump() == []
    with kvfpga.open("model") as dev:
        assert dev.entries == 65536


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(target="fpga"), "no such target"),
        (dict(target="model", entries=300), "power of two"),
        (dict(target="uart:/dev/ttyUSB0", entries=256), "has the size that was built"),
        (dict(target="model", board="ulx3s", lanes=1), "has the size that was built"),
        (dict(target="model", board="no-such-board"), "no-such-board"),
    ],
)
def test_open_refuses(arguments, message):
    with pytest.raises(UsageError, match=message):
        kvfpga.open(**arguments)


BOARD = """
target: uart:fake
build: {entries: 256, lanes: 8, data_bits: 128, id: 0x1122334455667788}
tiers: [0x10000000, 0x20000000, 0x30000000, 0x40000000]
"""


def test_open_a_board_puts_its_tiers_in_force(monkeypatch, tmp_path):
    from kvfpga.targets import target as targets

    fake = FakeDevice()
    fake.model.execute(cmd.Step(5))
    monkeypatch.setattr(targets.Target, "open_mmio", lambda self, *_, **__: fake)
    (tmp_path / "lab.yaml").write_text(BOARD)
    with kvfpga.open(board=str(tmp_path / "lab.yaml")) as dev:
        assert isinstance(dev, Lockstep) and dev.telemetry()["current_step"] == 0
        assert dev.settings()["TIER_BASE1"] == 0x20000000
        dev.load(1, 0, 0, (0, 31), VA)
        assert dev.entry(0)["phys_addr"] == 0x20000000
    with kvfpga.open("model", board=str(tmp_path / "lab.yaml")) as dev:
        assert dev.settings()["TIER_BASE3"] == 0x40000000


def test_open_lets_go_of_a_device_that_cannot_be_reset(monkeypatch):
    from kvfpga.targets import target as targets

    fake, closed = FakeDevice(BUILD_ID=1), []
    monkeypatch.setattr(targets.Target, "open_mmio", lambda self, *_, **__: fake)
    monkeypatch.setattr(targets.Target, "check_build", lambda *_: None)
    monkeypatch.setattr(Lockstep, "reset", lambda self: (_ for _ in ()).throw(TargetError("no answer")))
    monkeypatch.setattr(FakeDevice, "close", lambda self: closed.append(self))
    with pytest.raises(TargetError, match="no answer"):
        kvfpga.open("uart:fake")
    assert closed == [fake]


# ---- the class and its guide ---------------------------------------------------------------------------------------------
def public(names):
    return {name for name in names if not name.startswith("_")}


def test_no_name_means_two_things(fake):
    for device in (fake, Reference(ReferenceModel(256))):
        own = public(vars(type(device))) | public(vars(device))
        assert not public(vars(Surface)) & own
        assert all(hasattr(device, n) for n in ("execute", "execute_many", "sync", "reset", "verify", "read_register"))


def test_every_method_has_a_manual():
    for name in public(vars(Surface)):
        assert getattr(Surface, name).__doc__, name
        assert f"{name}(" in GUIDE.read_text(), f"{name} is missing in docs/python.md"


def test_every_exception_that_the_guide_names_exists():
    from kvfpga.contract import errors

    rows = re.findall(r"^\| `(\w+)` \|.*\|.*\|$", GUIDE.read_text().split("## When something goes wrong")[1], re.M)
    assert len(rows) == 4
    assert all(issubclass(getattr(errors, name), KvfpgaError) for name in rows)


@pytest.mark.parametrize("target", ["model", "sim"])
def test_the_examples_of_the_guide_run(target, request, monkeypatch, capsys):
    device = request.getfixturevalue("lockstep") if target == "sim" else Reference(ReferenceModel(256))
    monkeypatch.setattr(device, "close", lambda: None)  # the simulation is every test's
    opened = []
    real = kvfpga.open

    def open_(*given, **named):
        opened.append((given, named))
        return device if len(opened) == 1 else real(*given, **named)

    monkeypatch.setattr(kvfpga, "open", open_)
    examples = pages.code(GUIDE, "python")
    assert len(examples) == 9
    names: dict = {}
    for example in examples:
        exec(compile(example, str(GUIDE), "exec"), names)
    assert opened == [(("sim",), {"entries": 256}), *[(("model",), {"entries": 256})] * 2]
    assert capsys.readouterr().out.splitlines()[:2] == ["0 evict 1 to 2", "1 evict 1 to 2"]
    assert device.telemetry()["current_step"] == 402


def test_the_example_of_the_package_runs(monkeypatch):
    monkeypatch.setattr("kvfpga.open", lambda *_, **__: Reference(ReferenceModel(256)))
    lines = kvfpga.__doc__.split("reference model.\n")[1].split("`open`")[0]
    exec(re.sub(r"^    ", "", lines, flags=re.M))
