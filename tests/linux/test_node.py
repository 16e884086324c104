"""linux/ioctls.py, linux/node.py, linux/auto_load.py: the ioctls byte for byte, node and attributes as programs of other
processes see them, and the blocks that hints load by themselves."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvfpga.blackbox.generation import current_state
from kvfpga.contract import commands as cmd
from kvfpga.contract.commands import Result
from kvfpga.contract.errors import DeviceRefused, DifferenceError, TargetError, UsageError
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.linux import auto_load, ioctls
from kvfpga.linux.node import ATTRIBUTES, Kvcpu0, running, serve
from kvfpga.session.serving import Served
from kvfpga.targets.target import Target
from scripts.bench import ioctls as bench_uapi
from scripts.soak import ioctls as soak_uapi
from tests.helpers import node as uapi_helpers
from tests.helpers.random_script import BASE, BLOCK
from tests.helpers.small_device import ENTRIES, LANES
from tests.helpers.waiting import LONG, until

IOCTLS = int(os.environ.get("KVFPGA_UAPI_IOCTLS", 200))
PROCESSES = 16
TOP = 1 << 64
STEP, HOT, EVICT, PREFETCH, SHARE, WEIGHTS, TELEMETRY = (
    0x40084B01, 0x40184B02, 0x40184B03, 0x40184B04, 0x40184B05, 0x40184B06, 0x80604B07,
)  # fmt: skip


@pytest.fixture(params=["model", "sim"])
def served(request, tmp_path):
    with Served(uapi_helpers.small_target(request.param), tmp_path / "session") as served:
        yield served


@pytest.fixture
def model(tmp_path):
    """Where what is behind the node does not matter."""
    with Served(uapi_helpers.small_target("model"), tmp_path / "session") as served:
        yield served


@pytest.fixture(autouse=True)
def no_mount_is_left(tmp_path):
    yield
    left = [tmp_path / name for name in os.listdir(tmp_path) if name.endswith(".kvfpga")]
    for mount in left:
        subprocess.run(["fusermount3", "-u", "-z", mount], capture_output=True)
    assert not left


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return uapi_helpers.compile_program(tmp_path_factory.mktemp("gcc"))


@pytest.fixture
def node(served, tmp_path):
    """(path, folder of the attributes) served by this process."""
    with running(tmp_path / "kvcpu0", Kvcpu0(served), tmp_path / "sysfs"):
        yield tmp_path / "kvcpu0", tmp_path / "sysfs"


def run(program: Path, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=LONG)


def steps_of(sysfs: Path) -> int:
    """As the attributes of a server in another process show it."""
    return int(re.search(r"^step_count=(\d+)$", (sysfs / "telemetry").read_text(), re.MULTILINE)[1])


def load(n: int, tier: int = 1, va: int | None = None, request: int = 1) -> cmd.Load:
    return cmd.Load(request, 0, 0, 32 * n, 32 * n + 31, BASE + n * BLOCK if va is None else va, tier)


def expect(number: int, call, *arguments) -> None:
    """The call ends with that errno."""
    with pytest.raises(OSError) as caught:
        call(*arguments)
    assert caught.value.errno == number, caught.value


def step(n: int) -> bytes:
    return struct.pack("<Q", n)


def span(va: int, length: int, target: int = 0) -> bytes:
    return struct.pack("<QQQ", va, length, target)


def state(served) -> tuple:
    """Everything that a refused ioctl must leave alone."""
    device = served.device
    steady = {name: value for name, value in device.telemetry().items() if "cycles" not in name}
    return steady, device.settings(), device.digest()


def refused(kvcpu0: Kvcpu0, request: int, data: bytes) -> int:
    with pytest.raises(OSError) as caught:
        kvcpu0.ioctl(request, data)
    return caught.value.errno


# ---- numbers and bytes ---------------------------------------------------------------------------------------------------
def test_numbers_are_those_of_the_compiler(program):
    found = [int(line) for line in run(program, "none", "numbers").stdout.split()]
    assert found == list(ioctls.IOCTLS) == [STEP, HOT, EVICT, PREFETCH, SHARE, WEIGHTS, TELEMETRY]
    assert ioctls.GET_TELEMETRY.layout.size == 96


def test_all_seven_byte_for_byte(served):
    kvcpu0 = Kvcpu0(served)
    served.execute(*(load(n, tier=1 + n % 2) for n in range(4)))
    assert kvcpu0.ioctl(STEP, bytes.fromhex("0302000000000000")) == b""
    assert kvcpu0.ioctl(HOT, bytes.fromhex("0000000000 7f0000 0040000000000000 ffffffffffffffff")) == b"", "no target_step"
    assert kvcpu0.ioctl(EVICT, bytes.fromhex("ff3f000000 7f0000 0100000000000000 ffffffffffffffff")) == b""
    assert kvcpu0.ioctl(SHARE, bytes.fromhex("00c0000000 7f0000 0040000000000000 ffffffffffffffff")) == b""
    assert kvcpu0.ioctl(PREFETCH, bytes.fromhex("0040000000 7f0000 0100000000000000 0702000000000000")) == b""
    assert kvcpu0.ioctl(WEIGHTS, bytes.fromhex("01000000 02000000 03000000 04000000 34120000 dcfe0000")) == b""
    assert [(e["tier"], e["pinned"], e["ref_count"], e["access_step"]) for e in served.device.dump()] == [
        (2, False, 0, 0x203), (1, False, 0, 0x207), (2, False, 0, 0), (2, False, 1, 0)
    ]  # fmt: skip
    assert kvcpu0.ioctl(TELEMETRY, b"") == bytes.fromhex(
        "0302000000000000" + 5 * "0100000000000000" + "00400000007f0000 0100000000000000 0702000000000000"
        "01000000 02000000 03000000 04000000 34120000 dcfe0000"
    )
    kvcpu0.ioctl(STEP, step(0x300))
    assert kvcpu0.ioctl(TELEMETRY, bytes(96))[64:72] == step(0x300), "STEP sets last_target_step"


def test_telemetry_is_the_devices(served):
    kvcpu0, rng = Kvcpu0(served), random.Random(3)
    served.execute(*(load(n) for n in range(40)))
    for n in range(60):
        data = span(BASE + rng.randrange(45) * BLOCK, rng.randrange(1, 5 * BLOCK), n + 5)
        kvcpu0.ioctl(STEP, step(n))
        kvcpu0.ioctl(rng.choice((HOT, EVICT, PREFETCH, SHARE)), data)
    names = list(ioctls.telemetry(served.device.telemetry(), served.device.settings()))
    found = dict(zip(names, struct.unpack("<9Q6I", kvcpu0.ioctl(TELEMETRY, b""))))
    assert names == [
        "current_step", "step_count", "hot_count", "evict_count", "prefetch_count", "share_count", "last_va", "last_len",
        "last_target_step", "w_r", "w_f", "w_s", "w_d", "evict_thresh", "prefetch_thresh",
    ]  # fmt: skip
    device, settings = served.device.telemetry(), served.device.settings()
    assert {name: found[name] for name in names[:8]} == {name: device[name] for name in names[:8]}
    assert [found[name] for name in names[9:]] == [settings[n] for n in (
        "WEIGHT_R", "WEIGHT_F", "WEIGHT_S", "WEIGHT_D", "EVICT_THRESH", "PREFETCH_THRESH")]
    assert sum(found[name] for name in names[2:6]) == found["step_count"] == 60 and found["last_target_step"] == 64


@pytest.mark.parametrize(
    ("request_", "data"),
    [(r, span(va, n, 50)) for r in (HOT, EVICT, PREFETCH, SHARE)
     for va, n in ((BASE, 0), (0, 0), (TOP - 1, 2), (2, TOP - 1), (TOP - 1, TOP - 1))]
    + [(PREFETCH, span(BASE, 1, 39)), (PREFETCH, span(BASE, 1, 1 << 32)), (PREFETCH, span(BASE, 1, TOP - 1))]
    + [(STEP, step(n)) for n in (0, 39, 1 << 32, TOP - 1)],
)  # fmt: skip
def test_einval_changes_nothing(model, request_, data):
    for auto in (False, True):
        kvcpu0 = Kvcpu0(model, auto)
        model.execute(load(0), cmd.Step(40)) if not auto else None
        before = state(model)
        assert refused(kvcpu0, request_, data) == errno.EINVAL
        assert state(model) == before


def test_einval_of_the_device(served):
    """The same refusals, by the device that is served."""
    kvcpu0 = Kvcpu0(served)
    served.execute(load(0), cmd.Step(40))
    before = state(served)
    for request, data in (
        (HOT, span(BASE, 0)), (SHARE, span(TOP - 1, 2)), (PREFETCH, span(BASE, 1, 39)), (PREFETCH, span(BASE, 1, TOP - 1)),
        (STEP, step(39)), (STEP, step(TOP - 1)), (WEIGHTS, struct.pack("<6I", 1, 2, 3, 4, 5, 0xFFFFFFFF)),
    ):  # fmt: skip
        assert refused(kvcpu0, request, data) == errno.EINVAL
    assert state(served) == before and served.failed is None


@pytest.mark.parametrize("place", range(6))
def test_weights_are_set_all_or_none(model, place):
    kvcpu0, largest = Kvcpu0(model), [255] * 4 + [65535] * 2
    kvcpu0.ioctl(WEIGHTS, struct.pack("<6I", *largest))
    assert kvcpu0.ioctl(TELEMETRY, b"")[72:] == struct.pack("<6I", *largest)
    before = state(model)
    for value in (largest[place] + 1, 0xFFFFFFFF):
        wrong = [1, 2, 3, 4, 5, 6]
        wrong[place] = value
        assert refused(kvcpu0, WEIGHTS, struct.pack("<6I", *wrong)) == errno.EINVAL
        assert state(model) == before


def test_weights_that_wrap_are_warned_of(model):
    said = []
    kvcpu0 = Kvcpu0(model, say=said.append)
    kvcpu0.ioctl(WEIGHTS, struct.pack("<6I", 255, 1, 1, 0, 0, 0))
    assert said == []
    kvcpu0.ioctl(WEIGHTS, struct.pack("<6I", 255, 1, 1, 1, 0, 0))
    assert len(said) == 1 and "258" in said[0]


@pytest.mark.parametrize(
    "request_",
    [0, 1, 0x4B01, 0x4B08, STEP ^ 8 << 16, HOT + 8 - 2, HOT ^ 0x100, STEP ^ 3 << 30, STEP | 3 << 30, TELEMETRY ^ 3 << 30,
     TELEMETRY - (1 << 16), TELEMETRY | 1 << 30, 0xFFFFFFFF, STEP | 1 << 32],
)  # fmt: skip
def test_enotty(model, request_):
    assert refused(Kvcpu0(model), request_, bytes(96)) == errno.ENOTTY


@pytest.mark.parametrize("size", [0, 7, 9, 24])
def test_a_caller_in_this_process_passes_the_whole_structure(model, size):
    assert refused(Kvcpu0(model), STEP, bytes(size)) == errno.EFAULT


# ---- as the kernel module ------------------------------------------------------------------------------------------------
def last_target_step(kvcpu0: Kvcpu0) -> int:
    return struct.unpack_from("<Q", kvcpu0.ioctl(TELEMETRY, b""), 64)[0]


def test_last_target_step_is_that_of_the_last_structure(served):
    """The module copies it from whatever came last; the device knows it of STEP and PREFETCH only (contract R23)."""
    kvcpu0 = Kvcpu0(served)
    kvcpu0.ioctl(STEP, step(7))
    for request, target in ((HOT, TOP - 1), (EVICT, 3), (SHARE, 0), (PREFETCH, 9), (HOT, 12)):
        kvcpu0.ioctl(request, span(BASE, 1, target))
        assert last_target_step(kvcpu0) == target
    assert served.device.telemetry()["last_target_step"] == 9
    kvcpu0.ioctl(WEIGHTS, struct.pack("<6I", 1, 2, 3, 4, 5, 6))
    kvcpu0.store("w_r", b"3")
    assert refused(kvcpu0, EVICT, span(BASE, 0, 99)) == errno.EINVAL
    assert last_target_step(kvcpu0) == 12, "neither settings nor what was refused"
    assert b"\nlast_target_step=12\n" in kvcpu0.show("telemetry")
    kvcpu0.ioctl(STEP, step(8))
    assert last_target_step(kvcpu0) == 8
    if hasattr(served.device, "verify"):
        served.device.verify()


ONLY_THE_MODULE_ACCEPTS = [
    (STEP, step(39)), (STEP, step(1 << 32)), (HOT, span(TOP - 1, 2)), (EVICT, span(2, TOP - 1)), (PREFETCH, span(BASE, 1, 39)),
    (PREFETCH, span(BASE, 1, TOP - 1)), (SHARE, span(TOP - 1, TOP - 1)), (WEIGHTS, struct.pack("<6I", 256, 2, 3, 4, 5, 6)),
]  # fmt: skip


def test_compat_counts_what_only_the_module_accepts(served):
    kvcpu0 = Kvcpu0(served, compat=True)
    served.execute(load(0), cmd.Step(40))
    before = state(served)
    for request, data in ONLY_THE_MODULE_ACCEPTS:
        assert kvcpu0.ioctl(request, data) == b""
    kvcpu0.store("w_r", b"256")
    kvcpu0.store("current_step", b"0")
    assert state(served) == before and served.failed is None
    assert kvcpu0.tolerated == {
        "STEP_ADVANCE": 3, "MARK_HOT": 1, "EVICT": 1, "PREFETCH": 2, "SHARE_PREFIX": 1, "SET_WEIGHTS": 2,
    }  # fmt: skip
    assert kvcpu0.show("tolerated").startswith(b"STEP_ADVANCE=3\nMARK_HOT=1\n")
    assert refused(kvcpu0, HOT, span(BASE, 0)) == errno.EINVAL, "as of the module"
    with pytest.raises(OSError):
        kvcpu0.store("w_r", b"x")
    with pytest.raises(OSError) as caught:
        kvcpu0.store("tolerated", b"0")
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize("compat", [False, True])
def test_steps_from_0_on_a_used_session(model, compat):
    """What the adapter around vLLM's allocator does when it is started by itself: steps from 0, whatever came before."""
    kvcpu0 = Kvcpu0(model, compat=compat)
    model.execute(cmd.Step(500))
    if not compat:
        assert refused(kvcpu0, STEP, step(0)) == errno.EINVAL
        return
    for n in range(128):
        kvcpu0.ioctl(STEP, step(n))
    assert kvcpu0.tolerated["STEP_ADVANCE"] == 128 and model.device.telemetry()["current_step"] == 500


# ---- a device in doubt ---------------------------------------------------------------------------------------------------
def all_of_it(kvcpu0: Kvcpu0) -> set[int]:
    """The errno of everything that reaches the device."""
    found = {refused(kvcpu0, r, d) for r, d in (
        (STEP, step(99)), (HOT, span(BASE, 1)), (WEIGHTS, bytes(24)), (TELEMETRY, b""), (HOT, span(BASE, 0)))}
    for call in (lambda: kvcpu0.show("w_r"), lambda: kvcpu0.store("w_r", b"3")):
        with pytest.raises(OSError) as caught:
            call()
        found.add(caught.value.errno)
    return found


@pytest.mark.parametrize("kind", ["difference", "dead"])
def test_a_device_in_doubt_is_eio(tmp_path, monkeypatch, kind):
    told = []
    with Served(uapi_helpers.small_target("sim"), tmp_path / "s", on_failure=lambda: told.append(1)) as served:
        kvcpu0 = Kvcpu0(served, auto_load=True)
        kvcpu0.ioctl(STEP, step(5))
        if kind == "difference":
            served.device.model.execute(cmd.Step(7))
            assert refused(kvcpu0, HOT, span(BASE, 1)) == errno.EIO
            assert isinstance(served.failed, DifferenceError)
        else:
            def run(*_):
                raise TargetError("the cable is out")

            monkeypatch.setattr(served.device.device.mmio, "run", run)
            assert refused(kvcpu0, TELEMETRY, b"") == errno.EIO, "reading is enough to see it"
            monkeypatch.undo()
            assert "cable" in str(served.failed)
        assert all_of_it(kvcpu0) == {errno.EIO}
        assert refused(kvcpu0, 0x4B08, b"") == errno.ENOTTY
        assert told == [1]


def test_an_answer_that_no_rule_allows_is_eio(model, monkeypatch):
    monkeypatch.setattr(model, "execute", lambda *commands: [Result("ERR_NOT_EMPTY")])
    assert refused(Kvcpu0(model), HOT, span(BASE, 1)) == errno.EIO


# ---- the node ------------------------------------------------------------------------------------------------------------
def test_the_program_runs_on_it_unchanged(node, program, served):
    for _ in range(2):  # whatever state the device is in
        done = run(program, node[0], "smoke")
        assert (done.returncode, done.stdout) == (0, "smoke: PASS\n"), done.stdout + done.stderr
    if hasattr(served.device, "verify"):
        served.device.verify()


def test_the_program_as_cplusplus(model, tmp_path):
    program = uapi_helpers.compile_program(tmp_path, "g++")
    with running(tmp_path / "kvcpu0", Kvcpu0(model)):
        assert run(program, tmp_path / "kvcpu0", "smoke").stdout == "smoke: PASS\n"


def test_the_smoke_test_can_fail(model, program, tmp_path):
    """A node that forgets to refuse, or one wrong byte of telemetry, is seen."""

    class Wrong(Kvcpu0):
        def ioctl(self, request, data):
            answer = super().ioctl(request, data)
            return answer if request != TELEMETRY else answer[:-1] + bytes([answer[-1] ^ 1])

    with running(tmp_path / "kvcpu0", Wrong(model)):
        done = run(program, tmp_path / "kvcpu0", "smoke")
    assert done.returncode == 3 and "WRONG after.prefetch_thresh" in done.stdout


def test_the_commands_of_the_program(node, program, served):
    path = node[0]
    served.execute(*(load(n) for n in range(6)))

    def tiers():
        return [entry["tier"] for entry in served.device.dump()]

    assert run(program, path, "step", 120).returncode == 0
    assert run(program, path, "evict", hex(BASE + BLOCK), 2 * BLOCK).returncode == 0
    assert tiers() == [1, 2, 2, 1, 1, 1]
    assert run(program, path, "prefetch", BASE + 2 * BLOCK, 1, 121).returncode == 0
    assert tiers() == [1, 2, 1, 1, 1, 1]
    assert run(program, path, "hot", BASE, BLOCK).returncode == 0
    assert run(program, path, "share", BASE + BLOCK - 1, 2).returncode == 0
    assert run(program, path, "evict", 0x1000, 1).returncode == 0, "a range that matches nothing"
    assert [(e["pinned"], e["ref_count"]) for e in served.device.dump()][:3] == [(True, 1), (False, 1), (False, 0)]
    for words in (("step", 119), ("hot", BASE, 0)):
        done = run(program, path, *words)
        assert done.returncode == 1 and done.stderr == f"{words[0]}: Invalid argument\n"
    shown = dict(line.split("=") for line in run(program, path, "telemetry").stdout.split())
    device = served.device.telemetry()
    expected = {name: device[name] for name in ioctls.COUNTERS} | {"last_target_step": 0}  # the program's with the last evict
    assert {name: int(shown[name]) for name in ioctls.COUNTERS} == expected
    assert (device["step_count"], device["hot_count"], device["evict_count"]) == (1, 1, 2)


@pytest.mark.parametrize("served", ["model"], indirect=True)
def test_a_node_is_no_file(node):
    path, sysfs = node
    fd = os.open(path, os.O_RDWR | os.O_TRUNC)
    for call in (
        lambda: os.read(fd, 10), lambda: os.write(fd, b"x"), lambda: os.pread(fd, 1, 7), lambda: os.pwrite(fd, b"1", 96),
    ):  # fmt: skip
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(PermissionError):
        os.chmod(path, 0o666)
    os.close(fd)
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, STEP, step(3))  # a driver does not look at how it was opened
    assert fcntl.ioctl(fd, TELEMETRY, bytes(96))[:8] == step(3)
    with open(sysfs / "w_r") as attribute, pytest.raises(OSError) as caught:
        fcntl.ioctl(attribute, STEP, step(4))
    assert caught.value.errno == errno.ENOTTY
    os.close(fd)
    assert sorted(os.listdir(sysfs)) == sorted(ATTRIBUTES)


# ---- attributes ----------------------------------------------------------------------------------------------------------
def test_attributes(node, served, program):
    path, sysfs = node
    run(program, path, "prefetch", hex(BASE), 300, 17)
    assert (sysfs / "current_step").read_text() == "0\n"
    for name, text, value in (
        ("w_r", "5\n", 5), ("w_f", "0x10", 16), ("w_s", "+017\n", 15), ("w_d", "0", 0), ("evict_thresh", "0XffFF\n", 65535),
        ("prefetch_thresh", "9\n\0", 9), ("current_step", "12\n", 12),
    ):  # fmt: skip
        (sysfs / name).write_text(text)
        assert (sysfs / name).read_text() == f"{value}\n"
    subprocess.run(["sh", "-c", f"echo 7 > {sysfs}/w_r"], check=True)
    assert subprocess.check_output(["cat", sysfs / "telemetry"], text=True) == (
        f"current_step=12\nstep_count=1\nhot_count=0\nevict_count=0\nprefetch_count=1\nshare_count=0\nlast_va={BASE:#x}\n"
        "last_len=300\nlast_target_step=12\nw_r=7\nw_f=16\nw_s=15\nw_d=0\nevict_thresh=65535\nprefetch_thresh=9\n"
    )
    assert served.device.settings()["WEIGHT_R"] == 7
    assert served.device.telemetry()["step_count"] == 1, "a write of current_step is a STEP"


def test_attributes_refuse(node, served):
    sysfs = node[1]
    (sysfs / "current_step").write_text("40")
    before = state(served)
    for name, texts in {
        "w_r": [" 5", "5 ", "5\n\n", "-1", "0x", "08", "x", "5x", "\n", "+", "++1", "1_0", "٣", "256", "4294967296", "9" * 40],
        "evict_thresh": ["65536", "1.5"],
        "current_step": ["39", "4294967296", "18446744073709551616", "x"],
    }.items():
        for text in texts:
            with pytest.raises(OSError) as caught:
                (sysfs / name).write_text(text)
            assert caught.value.errno == errno.EINVAL, (name, text)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        with pytest.raises(PermissionError):
            os.open(sysfs / "telemetry", flags)
    assert state(served) == before and served.failed is None


@pytest.mark.parametrize("served", ["model"], indirect=True)
def test_a_name_that_is_no_attribute_is_none(node, served):
    """As in a driver's sysfs: a slip of the pen is an error of whoever writes, not a file that nobody reads."""
    path, sysfs = node
    before, mount = sorted(os.listdir(sysfs)), path.parent / ".kvcpu0.kvfpga"
    for folder in (sysfs, mount):
        for name in ("w_q", "w_r.bak", "W_R"):
            place = folder / name
            expect(errno.EACCES, place.write_text, "5")
            expect(errno.ENOENT, place.read_text)
            expect(errno.EPERM, place.mkdir)
            expect(errno.EPERM, place.symlink_to, "w_r")
            expect(errno.EPERM, os.mkfifo, place)
            expect(errno.EPERM, os.rename, sysfs / "w_r", place)
            expect(errno.EPERM, os.link, sysfs / "w_r", place)
        assert sorted(os.listdir(sysfs)) == before and sorted(os.listdir(mount)) == ["attributes", "kvcpu0"]
    for place in (sysfs / "w_r", mount / "kvcpu0"):
        expect(errno.EPERM, place.unlink)
        os.utime(place)  # touch
    expect(errno.EPERM, (mount / "attributes").rmdir)
    expect(errno.ENOENT, (mount / "w_r").read_text)
    assert (sysfs / "w_r").read_text() == "48\n" and served.failed is None


@pytest.mark.parametrize("served", ["model"], indirect=True)
def test_an_attribute_read_in_pieces_is_of_one_time(node, served):
    fd = os.open(node[1] / "telemetry", os.O_RDONLY)
    first = os.read(fd, 14)
    served.execute(cmd.Hot(1, 1), cmd.Step(5))
    rest = os.read(fd, 5000)
    assert b"hot_count=0\n" in first + rest and os.read(fd, 10) == b""
    os.lseek(fd, 0, os.SEEK_SET)
    assert b"current_step=5\n" in os.read(fd, 5000)
    os.close(fd)


# ---- many at once --------------------------------------------------------------------------------------------------------
def expected_counts(ioctls: int) -> dict[str, int]:
    """What so many of the program's hammer come to."""
    kinds = ("step_count", "hot_count", "evict_count", "prefetch_count", "share_count")
    return {name: len(range(place, ioctls, 5)) for place, name in enumerate(kinds)}


@pytest.mark.parametrize("auto", [False, True])
def test_sixteen_processes_are_counted_once(served, program, tmp_path, auto):
    served.execute(*(load(n) for n in range(60)), cmd.Step(9))
    with running(tmp_path / "kvcpu0", Kvcpu0(served, auto)):
        crowd = [subprocess.Popen([program, tmp_path / "kvcpu0", "hammer", str(IOCTLS), "9"]) for _ in range(PROCESSES)]
        assert [one.wait(600) for one in crowd] == [0] * PROCESSES
    found = served.device.telemetry()
    counts = expected_counts(IOCTLS)
    assert {name: found[name] - (name == "step_count") for name in counts} == {
        name: PROCESSES * count for name, count in counts.items()
    }
    assert found["valid_entries"] == (97 if auto else 60)
    served.device.verify()


@pytest.mark.parametrize("served", ["model"], indirect=True)
def test_threads_of_one_process(node, served, program):
    assert run(program, node[0], "hammer", 200, 0, 8).returncode == 0
    assert served.device.telemetry()["hot_count"] == 8 * 40


@pytest.mark.parametrize("served", ["model"], indirect=True)
def test_a_client_that_dies_does_no_harm(node, served, program):
    def steps() -> int:
        with served.lock:
            return served.device.telemetry()["step_count"]

    for _ in range(3):
        before = steps()
        with subprocess.Popen([program, node[0], "hammer", "1000000", "0"]) as client:
            until(lambda: steps() > before)  # noqa: B023
            client.kill()
    count = steps()
    assert run(program, node[0], "smoke").stdout == "smoke: PASS\n"
    assert served.device.telemetry()["step_count"] == count + 3, "nothing of theirs came later"


# ---- a server that ends --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_with_the_node_in_use(program, tmp_path, number):
    path, sysfs = tmp_path / "kvcpu0", tmp_path / "a" / "sysfs"
    with uapi_helpers.server("sim", tmp_path / "session", path, sysfs) as server:
        held = os.open(path, os.O_RDWR)
        clients = [
            subprocess.Popen([program, path, "hammer", "1000000", "0"], stderr=subprocess.PIPE, text=True) for _ in range(3)
        ]
        until(lambda: steps_of(sysfs) > 3)
        server.send_signal(number)
        assert server.wait(LONG) == 0
        for client in clients:
            assert client.communicate(timeout=LONG)[1].startswith("hammer: ") and client.returncode == 3
        with pytest.raises(OSError) as caught:
            fcntl.ioctl(held, STEP, step(1))
        assert caught.value.errno == errno.ENOTCONN
        os.close(held)
    assert os.listdir(tmp_path) == ["session"]
    with Served(uapi_helpers.small_target("sim"), tmp_path / "session") as served:
        assert served.device.telemetry()["step_count"] > 0, "everything was stored"
        served.device.verify()


@pytest.mark.parametrize("kind", ["model", "sim"])
def test_a_killed_server_leaves_a_whole_state_and_room_for_the_next(program, tmp_path, kind):
    path, sysfs, session = tmp_path / "kvcpu0", tmp_path / "sysfs", tmp_path / "session"
    for number in range(3):
        with uapi_helpers.server(kind, session, path, sysfs) as server:
            assert (sysfs / "current_step").read_text() == "0\n"
            stored = steps_of(sysfs)
            assert (stored > 0) == (number > 0), "what was stored before the kill"
            state = current_state(session / kind)
            with subprocess.Popen([program, path, "hammer", "1000000", "0"], stderr=subprocess.PIPE, text=True) as client:
                until(lambda: steps_of(sysfs) > stored and current_state(session / kind) != state)  # noqa: B023
                server.kill()
                server.wait()
                error = client.communicate(timeout=LONG)[1]
        assert client.returncode == 3 and error.startswith("hammer: "), "a clear error, and no hanging"
        with pytest.raises(OSError) as caught:
            os.stat(path)
        assert caught.value.errno == errno.ENOTCONN
    with uapi_helpers.server(kind, session, path, sysfs) as server:
        assert run(program, path, "smoke").stdout == "smoke: PASS\n"
        server.terminate()
        assert server.wait(LONG) == 0
    assert os.listdir(tmp_path) == ["session"]
    with Served(uapi_helpers.small_target(kind), session) as served:
        assert served.device.telemetry()["step_count"] >= 3, "the smoke test's, stored at the end"
        served.device.verify()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_nobody_asks(tmp_path, number):
    with uapi_helpers.server("model", tmp_path / "session", tmp_path / "kvcpu0", tmp_path / "sysfs") as server:
        server.send_signal(number)
        assert server.wait(LONG) == 0
    assert os.listdir(tmp_path) == ["session"]


def test_a_mount_that_somebody_takes_off_ends_the_serving(model, tmp_path):
    def ready():
        subprocess.run(["fusermount3", "-u", tmp_path / ".kvcpu0.kvfpga"], check=True)

    serve(tmp_path / "kvcpu0", Kvcpu0(model), tmp_path / "sysfs", ready)
    assert os.listdir(tmp_path) == ["session"]


# ---- names ---------------------------------------------------------------------------------------------------------------
def test_relative_paths(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with running(Path("kvcpu0"), Kvcpu0(model), Path("sysfs")):
        assert os.getcwd() == str(tmp_path), "libfuse changes to /"
        assert Path("sysfs/w_r").read_text() == "48\n"
        assert os.readlink("kvcpu0") == str(tmp_path / ".kvcpu0.kvfpga" / "kvcpu0")
        assert os.readlink("sysfs") == str(tmp_path / ".kvcpu0.kvfpga" / "attributes")
    assert os.listdir() == ["session"]


@pytest.mark.parametrize("what", ["file", "folder", "link", "folder for sysfs", "no folder", "in the way", "sysfs is a file"])
def test_what_is_there_already_is_left_alone(model, tmp_path, what):
    path, sysfs = tmp_path / "kvcpu0", tmp_path / "sysfs"
    match = "is there already"
    match what:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path)
        case "folder for sysfs":  # in which a name that is no attribute would become a file
            sysfs.mkdir()
            (sysfs / "mine").touch()
        case "no folder":
            (tmp_path / "x").touch()
            path, match = tmp_path / "x" / "kvcpu0", "cannot make"
        case "in the way":
            (tmp_path / ".kvcpu0.kvfpga").mkdir()
            (tmp_path / ".kvcpu0.kvfpga" / "mine").touch()
            match = "cannot make"
        case "sysfs is a file":
            sysfs.touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=match) as caught, running(path, Kvcpu0(model), sysfs):
        pass
    assert caught.value.remedy
    assert sorted(tmp_path.rglob("*")) == before
    shutil.rmtree(tmp_path / ".kvcpu0.kvfpga", ignore_errors=True)


@pytest.mark.parametrize("taken", ["kvcpu0", "sysfs"])
def test_a_link_that_somebody_took_away_keeps_no_other(model, tmp_path, taken):
    with running(tmp_path / "kvcpu0", Kvcpu0(model), tmp_path / "sysfs"):
        (tmp_path / taken).unlink()
    assert not any(os.path.lexists(tmp_path / name) for name in ("kvcpu0", "sysfs"))


def test_another_server_is_left_alone(model, tmp_path):
    with running(tmp_path / "kvcpu0", Kvcpu0(model), tmp_path / "sysfs"):
        for path, sysfs in (("kvcpu0", "other"), ("other", "sysfs")):
            with pytest.raises(UsageError, match="another kvfpga"), running(tmp_path / path, Kvcpu0(model), tmp_path / sysfs):
                pass
        assert (tmp_path / "sysfs" / "w_r").read_text() == "48\n"
        assert sorted(os.listdir(tmp_path)) == [".kvcpu0.kvfpga", "kvcpu0", "session", "sysfs"]
    with running(tmp_path / "kvcpu0", Kvcpu0(model)):
        pass


def test_attributes_that_another_killed_server_left(model, tmp_path):
    with uapi_helpers.server("model", tmp_path / "old session", tmp_path / "old", tmp_path / "sysfs") as server:
        server.kill()
        server.wait()
    with running(tmp_path / "kvcpu0", Kvcpu0(model), tmp_path / "sysfs"):
        assert (tmp_path / "sysfs" / "w_r").read_text() == "48\n"
        assert ".old.kvfpga" not in os.listdir(tmp_path)


def test_without_fuse(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    with pytest.raises(TargetError, match="FUSE is not installed") as caught, running(tmp_path / "kvcpu0", Kvcpu0(model)):
        pass
    assert "fuse3" in caught.value.remedy and os.listdir(tmp_path) == ["session"]


def test_a_mount_that_fails(model, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError(3)

    monkeypatch.setattr("mfusepy.FUSE", refuse)
    with pytest.raises(TargetError, match="could not mount"), running(tmp_path / "kvcpu0", Kvcpu0(model)):
        pass
    assert os.listdir(tmp_path) == ["session"]


def test_two_servers_that_start_at_the_same_time(model, tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.ismount", lambda path: False)
    with running(tmp_path / "kvcpu0", Kvcpu0(model)):
        os.rename(tmp_path / "kvcpu0", tmp_path / "moved")
        with pytest.raises(UsageError, match="cannot make"), running(tmp_path / "kvcpu0", Kvcpu0(model)):
            pass
        os.rename(tmp_path / "moved", tmp_path / "kvcpu0")


# ---- auto-load -----------------------------------------------------------------------------------------------------------
def vas(served) -> list[int]:
    return sorted(entry["va"] for entry in served.device.dump() if entry["request_id"] == auto_load.REQUEST)


def test_a_runtime_that_knows_only_addresses_sees_evictions(tmp_path, program, served):
    path, va = tmp_path / "kvcpu0", BASE + 100
    with running(path, Kvcpu0(served, auto_load=True)):
        assert run(program, path, "hot", va, 2 * BLOCK).returncode == 0
        assert [(e["va"], e["tier"], e["pinned"]) for e in served.device.dump()] == [
            (BASE + n * BLOCK, 1, True) for n in range(3)
        ]
        assert run(program, path, "evict", va, 1).returncode == 0
        assert served.device.telemetry()["evict_bytes"] == BLOCK
        assert run(program, path, "evict", BASE + 9 * BLOCK, 1).returncode == 0, "loaded and evicted at once"
        assert run(program, path, "prefetch", va, 1, 3).returncode == 0
        assert run(program, path, "share", BASE, 1).returncode == 0
        assert run(program, path, "step", 400).returncode == 0
    found = served.device.telemetry()
    assert [e["tier"] for e in served.device.dump()] == [1, 2, 2, 2], "only the shared one stays"
    assert (found["valid_entries"], found["evict_triggers"], found["prefetch_triggers"]) == (4, 4, 1)
    served.device.verify()


def test_nothing_is_loaded_without_it(model):
    Kvcpu0(model).ioctl(HOT, span(BASE, BLOCK))
    assert model.device.dump() == []


@pytest.mark.parametrize("seed", range(3))
def test_only_what_is_missing_is_loaded(model, seed):
    """Against a plain count of bytes, with blocks of anybody at odd addresses."""
    rng, kvcpu0 = random.Random(seed), Kvcpu0(model, auto_load=True)
    model.execute(cmd.Step(5))
    for n in range(12):
        model.execute(load(n, va=rng.randrange(40 * BLOCK)))
    blocks = [entry["va"] for entry in model.device.dump()]
    for _ in range(40):
        va, length = rng.randrange(40 * BLOCK), rng.choice((1, 100, BLOCK, BLOCK + 1, rng.randrange(1, 4 * BLOCK)))
        want = set()
        for slot in range(va // BLOCK, (va + length - 1) // BLOCK + 1):
            at, end = max(va, slot * BLOCK), min(va + length, (slot + 1) * BLOCK)
            while at < end and (cover := max((b for b in blocks if b <= at < b + BLOCK), default=None)) is not None:
                at = cover + BLOCK
            if at < end:
                want.add(slot * BLOCK)
        before = {entry["va"] for entry in model.device.dump()}
        kvcpu0.ioctl(rng.choice((HOT, EVICT, SHARE, PREFETCH)), span(va, length, 5))
        after = [entry["va"] for entry in model.device.dump()]
        assert set(after) - before == want and len(after) == len(blocks) + len(want)
        blocks = after
    keys = [(e["layer"], e["head"], e["token_start"]) for e in model.device.dump() if e["request_id"] == auto_load.REQUEST]
    assert sorted(keys) == [(0, 0, 32 * n) for n in range(len(keys))]


def test_at_the_ends_of_the_address_space(served):
    kvcpu0 = Kvcpu0(served, auto_load=True)
    kvcpu0.ioctl(HOT, span(TOP - 1, 1))
    kvcpu0.ioctl(HOT, span(0, 1))
    kvcpu0.ioctl(HOT, span(TOP - BLOCK - 1, BLOCK + 1))
    assert vas(served) == [0, TOP - 2 * BLOCK, TOP - BLOCK]
    served.execute(load(0, va=TOP - 2 * BLOCK - 100), load(1, va=TOP - 5))
    kvcpu0.ioctl(EVICT, span(TOP - 2 * BLOCK - 100, 2 * BLOCK + 100))
    assert len(vas(served)) == 3


def test_a_hint_may_only_load_so_much(model, monkeypatch):
    kvcpu0 = Kvcpu0(model, auto_load=True)
    for length in (ENTRIES * BLOCK + 1, 1 << 40, TOP - BASE, TOP - BASE - 1):
        before = state(model)
        assert refused(kvcpu0, HOT, span(BASE, length)) == errno.ENOSPC
        assert state(model) == before
    monkeypatch.setattr(auto_load, "MOST_BLOCKS", 5)
    assert refused(kvcpu0, HOT, span(BASE, 6 * BLOCK)) == errno.ENOSPC
    kvcpu0.ioctl(HOT, span(BASE, 5 * BLOCK))
    kvcpu0.ioctl(HOT, span(BASE + 1, 6 * BLOCK))
    assert len(vas(model)) == 7 and model.failed is None


def test_a_full_directory_gives_up_the_coldest(served):
    kvcpu0 = Kvcpu0(served, auto_load=True)
    served.execute(*(load(n, va=BASE + (1000 + n) * BLOCK + 7) for n in range(6)))
    kvcpu0.ioctl(SHARE, span(BASE, 4 * BLOCK))  # never given up
    kvcpu0.ioctl(HOT, span(BASE + 4 * BLOCK, (ENTRIES - 13) * BLOCK))
    kvcpu0.ioctl(EVICT, span(BASE + 20 * BLOCK, 3 * BLOCK))
    kvcpu0.ioctl(HOT, span(BASE + 999 * BLOCK, 2 * BLOCK))  # of which the second overlaps the first of somebody's
    kvcpu0.ioctl(HOT, span(BASE + 1006 * BLOCK, BLOCK))  # as this one does the last
    assert served.device.telemetry()["valid_entries"] == ENTRIES
    assert served.device.model.free_indices(1) == []
    cold = [BASE + n * BLOCK for n in (20, 21, 22)]
    assert set(cold) <= set(vas(served))
    kvcpu0.ioctl(HOT, span(BASE + 2000 * BLOCK, 2 * BLOCK))
    assert [va in vas(served) for va in cold] == [False, False, True]
    kvcpu0.ioctl(HOT, span(BASE + 3000 * BLOCK, BLOCK))
    assert cold[2] not in vas(served)
    before = state(served)
    assert refused(kvcpu0, HOT, span(BASE + 3000 * BLOCK, (ENTRIES - 11) * BLOCK)) == errno.ENOSPC
    assert state(served) == before
    kvcpu0.ioctl(HOT, span(BASE + 3000 * BLOCK, (ENTRIES - 12) * BLOCK))
    left = vas(served)
    assert left[:4] == [BASE + n * BLOCK for n in range(4)], "shared"
    assert {BASE + 1000 * BLOCK, BASE + 1006 * BLOCK} <= set(left), "to unload it would take somebody's block along"
    assert len([e for e in served.device.dump() if e["request_id"] == 1]) == 6
    served.device.verify()


def test_a_full_directory_with_nothing_to_give_up(model):
    model.execute(*(load(n) for n in range(ENTRIES - 2)))
    kvcpu0 = Kvcpu0(model, auto_load=True)
    kvcpu0.ioctl(SHARE, span(0, BLOCK))
    kvcpu0.ioctl(HOT, span(BLOCK, BLOCK))
    before = state(model)
    assert refused(kvcpu0, HOT, span(BLOCK, 3 * BLOCK)) == errno.ENOSPC, "not what the hint itself is about"
    assert refused(kvcpu0, HOT, span(5 * BLOCK, 2 * BLOCK)) == errno.ENOSPC
    assert state(model) == before and model.failed is None
    kvcpu0.ioctl(HOT, span(5 * BLOCK, BLOCK))
    assert vas(model) == [0, 5 * BLOCK]
    assert refused(kvcpu0, HOT, span(4 * BLOCK, 2 * BLOCK)) == errno.ENOSPC


def test_commands_that_are_no_hints_load_nothing():
    model = ReferenceModel(ENTRIES)
    for command in (cmd.Step(4), cmd.Unload(BASE, BLOCK), cmd.Release(BASE, BLOCK), cmd.Set("WEIGHT_R", 3), load(3)):
        assert auto_load.before(model, command) == []
    with pytest.raises(DeviceRefused) as caught:
        auto_load.before(model, cmd.Hot(0, 1 << 50))
    assert caught.value.code == "ERR_FULL"


def test_signals_do_not_matter(node, program):
    """A signal in the middle of an ioctl neither repeats nor drops it."""
    with subprocess.Popen([program, node[0], "hammer", "300", "0"]) as client:
        while client.poll() is None:
            client.send_signal(signal.SIGSTOP)
            time.sleep(0.002)
            client.send_signal(signal.SIGCONT)
            time.sleep(0.005)
    assert client.returncode == 0
    shown = dict(line.split("=") for line in run(program, node[0], "telemetry").stdout.split())
    assert {name: int(shown[name]) for name in expected_counts(300)} == expected_counts(300)


# ---- the scripts around it -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("auto", [False, True])
def test_the_soak(tmp_path, capsys, monkeypatch, auto):
    options = ["--target", "model", "--entries", str(ENTRIES), "--processes", "3", "--ioctls", "500"]
    monkeypatch.setattr("sys.argv", ["soak", *options, *["--auto-load"] * auto])
    assert soak_uapi.main() == 0
    assert '"verdict": "right"' in capsys.readouterr().out


def test_the_soak_sees_a_lost_ioctl(tmp_path, capsys, monkeypatch):
    ioctl, lost = Kvcpu0.ioctl, []

    def lose_one(self, request, data):
        if request == EVICT and not lost:
            lost.append(data)
            return b""
        return ioctl(self, request, data)

    monkeypatch.setattr(Kvcpu0, "ioctl", lose_one)
    options = ["--target", "model", "--entries", str(ENTRIES), "--processes", "2", "--ioctls", "100"]
    monkeypatch.setattr("sys.argv", ["soak", *options])
    assert soak_uapi.main() == 1
    assert '"evict_count": 39' in capsys.readouterr().out


def test_the_bench(tmp_path):
    rows, rates = bench_uapi.measure(Target("model", ENTRIES, LANES), 5, 1, tmp_path, (1, 3))
    assert [row["name"] for row in rows] == ["ENOTTY", *(ioctl.name for ioctl in ioctls.IOCTLS.values())]
    assert all(row["node"] > 0 for row in rows) and all(rate > 0 for rate in rates.values()) and list(rates) == [1, 3]
