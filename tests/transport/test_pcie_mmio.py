"""pcie_mmio.py and transport/xdma/nodes.py: registers mapped and by pread, bounds, bus errors, dead links, lost nodes, the lock,
bulk transfers. Plain files stand in for the nodes; test_virtual_xdma.py has the Verilated device behind them."""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from kvfpga import pcie_mmio
from kvfpga.contract.errors import BusError, IdleTimeout, TargetError, UsageError
from kvfpga.device.regmap import BAR2_ENTRIES, BAR2_VAS, DOORBELLS, PTABLE, QUERY, REGISTERS, SCORES
from kvfpga.pcie_mmio import BAR2_BYTES, PcieMmio
from kvfpga.transport import mmio as seam
from kvfpga.transport.mmio import SPACE_BYTES, Batch
from kvfpga.transport.xdma import nodes as xdma_nodes

DEVICE_ID, SCRATCH, STATUS, ERROR, ERROR_OFFSET, IRQ_ENABLE, STEP, CTRL, COMPLETION, CAP_ENTRIES, CAP_FIFO_DEPTH = (
    REGISTERS[name].offset
    for name in (
        "DEVICE_ID", "SCRATCH", "STATUS", "ERROR", "ERROR_OFFSET", "IRQ_ENABLE", "STEP_FAST", "CTRL", "COMPLETION",
        "CAP_ENTRIES", "CAP_FIFO_DEPTH",
    )
)  # fmt: skip
BOOST_ADDR, BOOST_LEN = REGISTERS["BOOST_ADDR"].offset, REGISTERS["BOOST_LEN"].offset
UNMAPPED = 0xD000
ONES = 0xFFFFFFFF
BUSY, ERROR_BIT = 1, 8


def put(path, offset: int, value: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(value.to_bytes(4, "little"))


@pytest.fixture
def card(tmp_path):
    """Nodes of a card whose registers are a plain file."""
    for name, size in (("user", SPACE_BYTES), ("h2c_0", 0), ("c2h_0", 1 << 16)):
        with open(tmp_path / f"xdma0_{name}", "wb") as file:
            file.truncate(size)
    put(tmp_path / "xdma0_user", DEVICE_ID, pcie_mmio.DEVICE_ID)
    return tmp_path


@contextmanager
def told(match: str, kind=TargetError, remedy: str = ""):
    """An error of this kind comes, says this, ends a command with 3, and knows a remedy."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert caught.value.exit_code == 3
    assert remedy in caught.value.remedy


def refuse_mmap(monkeypatch) -> None:
    real = mmap.mmap

    def refusing(fd, *arguments, **options):
        if fd != -1:
            raise OSError(errno.ENODEV, "No such device")
        return real(fd, *arguments, **options)

    monkeypatch.setattr(xdma_nodes.mmap, "mmap", refusing)


@pytest.fixture(params=["mapped", "pread"])
def board(request, card, monkeypatch):
    if request.param == "pread":
        refuse_mmap(monkeypatch)
    with PcieMmio(card) as board:
        kind = xdma_nodes.MappedBar if request.param == "mapped" else xdma_nodes.FileBar
        assert type(board._bar) is kind
        yield board


# ---- registers, both ways --------------------------------------------------------------------------------------------
def test_words_go_where_they_belong(board, card):
    board.write32(SCRATCH, 0x89ABCDEF)
    board.write64(BOOST_ADDR, 0x0123456789ABCDEF)
    assert (card / "xdma0_user").read_bytes()[SCRATCH - 4 : SCRATCH + 8].hex() == "00000000" + "efcdab89" + "00000000"
    assert board.read32(SCRATCH) == 0x89ABCDEF
    assert board.read64(BOOST_ADDR) == 0x0123456789ABCDEF
    assert board.read_burst(BOOST_ADDR, 3).tolist() == [0x89ABCDEF, 0x01234567, 0]
    board.write_burst(BOOST_ADDR, np.array([1, 2], np.uint32))
    assert board.read64(BOOST_ADDR) == 2 << 32 | 1
    assert board.read_burst(BOOST_ADDR, 0).tolist() == []


@pytest.mark.parametrize("nmce", [0, 1])
def test_words_of_windows_are_no_doubt(board, card, nmce):
    """An earlier error still stands: what the register map promises is not taken for refused, what it does not is."""
    sizes = {"CAP_CLASSES": 16, "CAP_HEAD_DIM": 128, "CAP_NMCE": nmce, "CAP_DOORBELLS": DOORBELLS.start}
    sizes |= {"ERROR": 1, "STATUS": ERROR_BIT}
    for name, value in sizes.items():
        put(card / "xdma0_user", REGISTERS[name].offset, value)
    board._stale = True
    table, queries = PTABLE + 16 * 64 - 4, QUERY + 64 * 256 - 4
    for offset in (PTABLE, table, SCORES, SCORES + 4092, QUERY, queries, DOORBELLS.start, DOORBELLS.stop - 4):
        assert board.read32(offset) == 0
    for offset in (PTABLE, table, *((QUERY, queries) if nmce else ())):
        board.write32(offset, 5)
        assert board.read32(offset) == 5
    for offset in (table + 4, queries + 4, SCORES - 4):
        with told("bus error on read", BusError):
            board.read32(offset)
    for offset in (table + 4, queries + 4, SCORES, DOORBELLS.start, *(() if nmce else (QUERY,))):
        with told("bus error on write", BusError):
            board.write32(offset, 5)


def test_a_batch(board, card):
    put(card / "xdma0_user", CAP_ENTRIES, 256)
    put(card / "xdma0_user", BAR2_VAS + 8, 0x1234)
    batch = Batch()
    batch.write(SCRATCH, 5)
    scratch = batch.read(SCRATCH)
    batch.write64(BOOST_ADDR, 7 << 32)
    batch.wait_idle()
    wide, vas = batch.read64(BOOST_ADDR), batch.burst(BAR2_VAS, 4)
    batch.drain(COMPLETION)
    batch.clock(1000)
    words, records = board.run(batch)
    assert (words[scratch], words[wide + 1], words[vas].tolist(), len(records)) == (5, 7, [0, 0, 0x1234, 0], 0)
    assert (words.dtype, records.dtype) == (np.uint32, np.uint64)
    assert board.run(Batch()).words.tolist() == []


def test_bars_elsewhere_in_the_user_bar(card):
    with open(card / "xdma0_user", "r+b") as file:
        file.truncate(2 * SPACE_BYTES)
    put(card / "xdma0_user", 0x20000 + DEVICE_ID, pcie_mmio.DEVICE_ID)
    put(card / "xdma0_user", 0x20000 + CAP_ENTRIES, 256)
    put(card / "xdma0_user", 0x800000 + 32, 77)
    with PcieMmio(card, bar_offsets=(0x20000, 0x800000)) as board:
        board.write32(SCRATCH, 3)
        assert (board.read32(DEVICE_ID), board.read32(BAR2_ENTRIES + 32)) == (pcie_mmio.DEVICE_ID, 77)
    assert (card / "xdma0_user").read_bytes()[0x20000 + SCRATCH] == 3


def test_a_register_is_one_access_of_four_bytes(card, monkeypatch):
    refuse_mmap(monkeypatch)
    calls = []
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda fd, n, at: calls.append(("r", n, at)) or pread(fd, n, at))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: calls.append(("w", len(data), at)) or pwrite(fd, data, at))
    with PcieMmio(card) as board:
        del calls[:]
        board.read32(SCRATCH)
        board.read_burst(BOOST_ADDR, 3)
        assert calls == [("r", 4, at) for at in (SCRATCH, BOOST_ADDR, BOOST_ADDR + 4, BOOST_ADDR + 8)]
        del calls[:]
        board.write64(BOOST_ADDR, 1)
        assert calls == [("w", 4, BOOST_ADDR), ("w", 4, BOOST_ADDR + 4), ("r", 4, STATUS)]


@pytest.mark.parametrize("call", ["pread", "pwrite"])
def test_a_driver_that_moves_less_than_a_word(card, monkeypatch, call):
    refuse_mmap(monkeypatch)
    with PcieMmio(card) as board:
        monkeypatch.setattr(os, call, {"pread": lambda *_: b"\0\0", "pwrite": lambda *_: 2}[call])
        with told("of a register of 4|for a register of 4"):
            board.write32(SCRATCH, 1) if call == "pwrite" else board.read32(SCRATCH)


# ---- what never goes on the bus --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("offset", "words", "named"),
    [
        (SCRATCH + 1, 1, SCRATCH + 1), (SCRATCH + 2, 1, SCRATCH + 2), (1 << 16, 1, 1 << 16),
        (BAR2_ENTRIES - 4, 1, BAR2_ENTRIES - 4), (SPACE_BYTES, 1, SPACE_BYTES), (-4, 1, -4), (0xFFFC, 2, 0x10000),
        (SPACE_BYTES - 4, 2, SPACE_BYTES), (1 << 40, 1, 1 << 40),
    ],
)  # fmt: skip
def test_outside_or_misaligned_is_refused_before_the_bus(board, card, offset, words, named):
    before = (card / "xdma0_user").read_bytes()
    with told("not sent", BusError) as caught:
        board.read_burst(offset, words)
    assert (caught.value.offset, caught.value.is_write) == (named, False)
    if words == 1:
        with told("not sent", BusError) as caught:
            board.write32(offset, ONES)
        assert (caught.value.offset, caught.value.is_write) == (named, True)
    else:
        with told("not sent", BusError):
            board.write64(offset, 1 << 64 - 1)
    assert (card / "xdma0_user").read_bytes() == before
    assert board.read32(DEVICE_ID) == pcie_mmio.DEVICE_ID, "and it goes on"


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_a_value_that_does_not_fit(board, value):
    with pytest.raises(UsageError, match="does not fit"):
        board.write32(SCRATCH, value)
    assert board.read32(SCRATCH) == 0


# ---- size of the BAR -------------------------------------------------------------------------------------------------
def fake_sysfs(folder, *bars: tuple[int, int], dev: str = "0:0"):
    """/sys with the card's resources: (bytes, flags) each."""
    entry = folder / "sys/class/xdma/xdma0_user"
    (entry / "device").mkdir(parents=True)
    (entry / "dev").write_text(f"{dev}\n")
    lines = [f"{0xF0000000:#018x} {0xF0000000 + size - 1:#018x} {flags:#018x}" for size, flags in bars]
    (entry / "device/resource").write_text("\n".join(lines) + "\n")
    return folder / "sys"


def test_sysfs_says_how_large_the_bar_is(card):
    sysfs = fake_sysfs(card, (256, 0x101), (1 << 20, 0x40200), (SPACE_BYTES, 0x40200))
    with told("has 0x100000 bytes, BAR0 and BAR2 at their offsets need 0x800000", remedy="bar_offsets"):
        PcieMmio(card, sysfs=sysfs)


def test_a_large_enough_bar_in_sysfs(card):
    PcieMmio(card, sysfs=fake_sysfs(card, (SPACE_BYTES, 0x40200))).close()


def test_sysfs_of_another_node_does_not_count(card):
    PcieMmio(card, sysfs=fake_sysfs(card, (4096, 0x200), dev="238:1")).close()


def test_a_bar_size_from_the_board_file(card):
    with told("too small"):
        PcieMmio(card, bar_bytes=1 << 16)


def test_offsets_that_do_not_fit_into_the_bar(card):
    with told(f"need {0x600000 + BAR2_BYTES:#x}"):
        PcieMmio(card, bar_offsets=(0, 0x600000))


def test_a_driver_that_finds_the_bar_too_small(card, monkeypatch):
    def refusing(*_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(xdma_nodes.mmap, "mmap", refusing)
    with told("too small"):
        PcieMmio(card)


@pytest.mark.parametrize("offsets", [(0, 0x8000), (0x200000, 0), (2, 0x400000), (-4, 0x400000)])
def test_offsets_that_make_no_sense(card, offsets):
    with pytest.raises(UsageError, match="overlaps|multiple of 4"):
        PcieMmio(card, bar_offsets=offsets)


# ---- which card ------------------------------------------------------------------------------------------------------
def test_a_prefix_chooses_one_of_several_cards(card):
    for name in ("user", "h2c_0", "c2h_0"):
        (card / f"xdma12_{name}").write_bytes((card / f"xdma0_{name}").read_bytes())
    put(card / "xdma12_user", SCRATCH, 12)
    with told("several cards: xdma0, xdma12", remedy=f"xdma:{card}/xdma0"):
        PcieMmio(card)
    with PcieMmio(card / "xdma12") as board:
        assert (board.read32(SCRATCH), board.name) == (12, f"xdma:{card}/xdma12")


@pytest.mark.parametrize("h2c", ["h2c_0", "h2c0"])
def test_the_layout_of_a_udev_rule(card, tmp_path, h2c):
    folder = tmp_path / "card0"
    folder.mkdir()
    for name, node in (("user", "user"), (h2c, "h2c_0"), ("c2h_0", "c2h_0")):
        (folder / name).symlink_to(card / f"xdma0_{node}")
    PcieMmio(folder).close()
    sysfs = fake_sysfs(card, (4096, 0x200))
    with told("too small"):
        PcieMmio(folder, sysfs=sysfs)


@pytest.mark.parametrize("missing", ["user", "h2c_0", "c2h_0"])
def test_a_node_is_missing(card, missing):
    (card / f"xdma0_{missing}").unlink()
    with told(f"there is no .*{missing}", remedy="modprobe xdma"):
        PcieMmio(card)


def test_no_such_folder(tmp_path):
    with told("there is no .*nowhere_user", remedy="modprobe xdma"):
        PcieMmio(tmp_path / "nowhere")


# ---- lock ------------------------------------------------------------------------------------------------------------
def test_a_card_has_one_user(card):
    with PcieMmio(card):
        with told(rf"busy: process {os.getpid()} \("):
            PcieMmio(card)
    PcieMmio(card).close()


def test_a_refused_connection_keeps_no_lock(card):
    (card / "xdma0_h2c_0").unlink()
    (card / "xdma0_h2c_0").mkdir()  # exists, but nobody can open it for writing, not even root
    with told("h2c_0 failed: Is a directory"):
        PcieMmio(card)
    (card / "xdma0_h2c_0").rmdir()
    (card / "xdma0_h2c_0").touch()
    PcieMmio(card).close()


def test_another_process_is_named(card):
    program = (
        "import sys; from kvfpga.pcie_mmio import PcieMmio\n"
        "with PcieMmio(sys.argv[1]): print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, card], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "open\n"
        with told(f"busy: process {other.pid} "):
            PcieMmio(card)
        other.stdin.close()
        assert other.wait() == 0
    PcieMmio(card).close()


# ---- errors of the driver --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "match", "remedy"),
    [
        (errno.ENODEV, "is gone", "lspci"), (errno.ENOTCONN, "is gone", "lspci"), (errno.EIO, "failed a transfer", "dmesg"),
        (errno.EPROTO, "refused an access", "dmesg"), (errno.EPERM, "may not be used", "udev"),
        (errno.ENOENT, "not there", "modprobe"), (errno.ENOMEM, "failed: Cannot allocate", "dmesg"),
        (512, "failed: Unknown error 512", "dmesg"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("use", ["register", "burst", "batch", "memory"])
def test_no_oserror_leaks_and_the_transport_stays_broken(card, monkeypatch, code, match, remedy, use):
    refuse_mmap(monkeypatch)
    batch = Batch()
    batch.write(SCRATCH, 1)

    def fail(*_):
        raise OSError(code, os.strerror(code))

    with PcieMmio(card) as board:
        uses = {
            "register": lambda: board.read32(SCRATCH), "burst": lambda: board.read_burst(SCRATCH, 2),
            "batch": lambda: board.run(batch), "memory": lambda: board.memory_write(0, b"1"),
        }  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", fail)
            patch.setattr(os, "pwrite", fail)
            with told(match, remedy=remedy):
                uses[use]()
        for again in (*uses.values(), lambda: board.write64(BOOST_ADDR, 1), lambda: board.wait_idle()):
            with told(match, remedy=remedy):
                again()


@pytest.mark.parametrize("node", ["user", "h2c_0", "c2h_0"])
@pytest.mark.parametrize(("code", "remedy"), [(errno.EACCES, "udev"), (errno.ENXIO, "lspci")])
def test_a_node_that_does_not_open(card, monkeypatch, node, code, remedy):
    path, real = str(card / f"xdma0_{node}"), os.open

    def refusing(name, *arguments):
        if str(name) == path:
            raise OSError(code, os.strerror(code), path)
        return real(name, *arguments)

    monkeypatch.setattr(os, "open", refusing)
    with told(f"{node} ", remedy=remedy):
        PcieMmio(card)


def test_closed_says_so(card):
    board = PcieMmio(card)
    board.close()
    board.close()
    for use in (lambda: board.read32(SCRATCH), lambda: board.run(Batch()), lambda: board.memory_read(0, 1)):
        with pytest.raises(TargetError, match="was closed"):
            use()


# ---- dead link -------------------------------------------------------------------------------------------------------
def test_all_ones_at_open_is_a_dead_link(card):
    (card / "xdma0_user").write_bytes(b"\xff" * SPACE_BYTES)
    with told("all ones: a dead link", remedy="powered"):
        PcieMmio(card)


def test_all_ones_is_a_value_while_device_id_answers(board):
    board.write32(SCRATCH, ONES)
    assert board.read32(SCRATCH) == ONES
    board.write64(BOOST_ADDR, (1 << 64) - 1)
    assert board.read_burst(BOOST_ADDR, 2).tolist() == [ONES, ONES]


@pytest.mark.parametrize("use", ["read", "burst", "write", "wait", "drain"])
def test_a_link_that_dies(board, card, use):
    (card / "xdma0_user").write_bytes(b"\xff" * SPACE_BYTES)
    batch = Batch()
    batch.drain(COMPLETION)
    uses = {
        "read": lambda: board.read32(SCRATCH), "burst": lambda: board.read_burst(SCRATCH, 4),
        "write": lambda: board.write32(SCRATCH, 1), "wait": lambda: board.wait_idle(), "drain": lambda: board.run(batch),
    }  # fmt: skip
    with told("a dead link", remedy="powered"):
        uses[use]()
    put(card / "xdma0_user", DEVICE_ID, pcie_mmio.DEVICE_ID)
    with told("a dead link"):
        board.read32(DEVICE_ID)


def test_status_is_never_all_ones(board, card):
    put(card / "xdma0_user", STATUS, ONES)
    with told("STATUS .* all ones on a live link", remedy="bitstream"):
        board.wait_idle()


def test_records_that_do_not_end(board, card, monkeypatch):
    monkeypatch.setattr(seam, "ENDLESS", 100)
    put(card / "xdma0_user", COMPLETION, 1 << 31)
    batch = Batch()
    batch.drain(COMPLETION)
    with told("do not end", remedy="reset"):
        board.run(batch)


# ---- bus errors: only the device's ERROR register tells --------------------------------------------------------------
class Device:
    """A BAR whose device refuses as R2 and R5 say, and writes down every access."""

    def __init__(self):
        self.words = {DEVICE_ID: pcie_mmio.DEVICE_ID, CAP_ENTRIES: 256, CAP_FIFO_DEPTH: 16, ERROR: 0, ERROR_OFFSET: 0}
        self.level = self.busy = 0
        self.log: list[tuple[str, int]] = []

    def refuse(self, at, code):
        if not self.words[ERROR] & 3:
            self.words |= {ERROR: code << 8, ERROR_OFFSET: at}
        self.words[ERROR] |= 1
        return ONES

    def load(self, at):
        self.log.append(("r", at))
        if at == STATUS:
            self.busy = max(self.busy - 1, 0)
            return self.level << 8 | (ERROR_BIT if self.words[ERROR] & 3 else 0) | (BUSY if self.busy else 0)
        return self.refuse(at, 1) if at >= 0x3000 else self.words.get(at, 0)

    def load_many(self, at, count):
        return [self.load(at + 4 * i) for i in range(count)]

    def store(self, at, value):
        self.log.append(("w", at))
        if at == ERROR:
            self.words[ERROR] &= ~value
        elif at >= 0x3000 or at == DEVICE_ID:
            self.refuse(at, 1)
        elif at in pcie_mmio.QUEUES and self.level >= 16:
            self.refuse(at, 4)
        else:
            self.words[at] = value

    def close(self):
        pass


@pytest.fixture
def pair(card, monkeypatch):
    device = Device()
    monkeypatch.setattr(xdma_nodes, "open_bar", lambda fd, size: device)
    with PcieMmio(card) as board:
        del device.log[:]
        yield board, device


def test_what_cannot_be_refused_costs_nothing(pair):
    board, device = pair
    batch = Batch()
    batch.write64(BOOST_ADDR, 1)
    batch.write64(BOOST_LEN, 2)
    batch.wait_idle()
    batch.burst(SCRATCH, 2)
    board.run(batch)
    assert device.log == [
        ("w", BOOST_ADDR), ("w", BOOST_ADDR + 4), ("w", BOOST_LEN), ("w", BOOST_LEN + 4), ("r", STATUS),
        ("r", SCRATCH), ("r", SCRATCH + 4),
    ]  # fmt: skip


def test_every_batch_that_wrote_looks_at_status_once(pair):
    board, device = pair
    batch = Batch()
    for value in range(4):
        batch.write(SCRATCH, value)
    board.run(batch)
    assert device.log == [("w", SCRATCH)] * 4 + [("r", STATUS)]


def test_a_refused_read(pair):
    board, device = pair
    with told("read of offset 0xd000: SLVERR, UNMAPPED", BusError, remedy="reg read ERROR") as caught:
        board.read32(UNMAPPED)
    assert (caught.value.offset, caught.value.is_write) == (UNMAPPED, False)
    with told("read of offset 0xd008", BusError):
        board.read32(UNMAPPED + 8)
    assert (board.read32(ERROR), board.read32(ERROR_OFFSET)) == (0x101, UNMAPPED), "the first error stays to be seen"


def test_a_read_of_the_directory_past_its_end(pair):
    board, _ = pair
    with told(f"offset {BAR2_ENTRIES + 32 * 256:#x}", BusError):
        board.read_burst(BAR2_ENTRIES + 32 * 256, 2)


def test_a_refused_write_ends_the_batch_there(pair):
    board, device = pair
    batch = Batch()
    batch.write(SCRATCH, 3)
    batch.write(DEVICE_ID, 0)
    batch.write(SCRATCH, 4)
    for _ in range(2):  # with ERROR clear, and with the first error standing in it
        with told("write to offset 0x40: SLVERR", BusError) as caught:
            board.run(batch)
        assert (caught.value.position, caught.value.offset, caught.value.is_write) == (1, DEVICE_ID, True)
        assert device.words[SCRATCH] == 3, "what is before it took effect, the write behind it was not made"


@pytest.mark.parametrize("position", [0, 1])
def test_a_doorbell_on_a_full_fifo_before_a_wait(pair, position):
    board, device = pair
    device.level = 16
    batch = Batch()
    if position:
        batch.write(SCRATCH, 9)
    batch.write(STEP, 7)
    batch.wait_idle()
    batch.write(SCRATCH, 4)
    with told("write to offset 0x0: SLVERR, FIFO_FULL", BusError) as caught:
        board.run(batch)
    assert caught.value.position == position
    with told("FIFO_FULL; not sent", BusError) as caught:  # ERROR cannot tell any more, so STATUS is asked before
        board.run(batch)
    assert caught.value.position == position
    device.level = 15
    board.run(batch)
    assert device.words[STEP] == 7 and device.words[SCRATCH] == 4
    device.level = 16
    board.write32(CTRL, 1)  # a reset needs no room
    assert board.read32(ERROR) == 0x401


def test_cleared_errors_are_seen_again(pair):
    board, device = pair
    for offset in (UNMAPPED, UNMAPPED + 4):
        with told(f"offset {offset:#x}: SLVERR, UNMAPPED", BusError):
            board.write32(offset, 1)
        board.write32(ERROR, 3)
    device.level = 16
    with told("SLVERR, FIFO_FULL", BusError):
        board.write64(BOOST_LEN, 1)


def test_an_error_from_before_is_not_ours(card, monkeypatch):
    device = Device()
    device.refuse(0x5000, 1)
    monkeypatch.setattr(xdma_nodes, "open_bar", lambda fd, size: device)
    with PcieMmio(card) as board:
        board.write32(SCRATCH, 1)
        board.write32(STEP, 5)
        with told("offset 0xd000", BusError):
            board.write32(UNMAPPED, 1)
        assert board.read32(ERROR_OFFSET) == 0x5000


def test_an_error_of_the_dma_is_not_a_bus_error(pair):
    board, device = pair
    device.words[ERROR] = 2 | 6 << 8
    board.write32(STEP, 5)
    with told("(?m)offset 0xd000: SLVERR$", BusError):
        board.write32(UNMAPPED, 1)
    assert board.read32(ERROR) == 3 | 6 << 8


# ---- waiting ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("has_events", [True, False])
def test_a_wait_ends_with_the_device_or_with_its_budget(card, monkeypatch, has_events):
    device, events, clock = Device(), [], itertools.count(0.0, 0.0001)
    monkeypatch.setattr(xdma_nodes, "open_bar", lambda fd, size: device)
    monkeypatch.setattr(pcie_mmio, "_now", lambda: next(clock))
    if has_events:
        (card / "xdma0_events_0").write_bytes(b"\1\0\0\0" * 10000)  # an interrupt that is always there
    with PcieMmio(card) as board:
        read = os.read
        monkeypatch.setattr(os, "read", lambda fd, n: events.append(n) or read(fd, n))
        device.words[IRQ_ENABLE] = 4
        device.busy = 3
        assert board.wait_idle() == 0
        assert ("w", IRQ_ENABLE) not in device.log, "a short wait polls"
        device.busy = 1 << 60
        with told("still busy after 0.02 s", IdleTimeout, remedy="STATUS"):
            board.wait_idle(0.02)
        assert device.words[IRQ_ENABLE] == 4, "and the interrupts are as they were"
        assert set(events) == ({4} if has_events else set())
        device.busy = 0
        assert board.wait_idle() == 0, "a wait that ran out ends nothing"


# ---- memory ----------------------------------------------------------------------------------------------------------
def test_bulk_transfers_at_any_place(card, monkeypatch):
    monkeypatch.setattr(xdma_nodes.Channel, "CHUNK", 1000)
    data = np.random.default_rng(1).integers(0, 256, 1 << 16, np.uint8).tobytes()
    (card / "xdma0_c2h_0").write_bytes(data)
    with PcieMmio(card, memory_offset=0x100) as board:
        for addr, size in ((0, 0), (0, 1), (3, 5000), (4095, 2), (0x2000, 3000), ((1 << 16) - 0x101, 1)):
            assert board.memory_read(addr, size) == data[addr + 0x100 : addr + 0x100 + size]
            board.memory_write(addr, data[:size])
            assert (card / "xdma0_h2c_0").read_bytes()[addr + 0x100 : addr + 0x100 + size] == data[:size]
        blocks = board.memory_read_blocks(np.array([1, 7], np.uint64), 3)
        assert blocks.tobytes() == data[0x101:0x104] + data[0x107:0x10A]
        with told("moved only 255 of 256 bytes", remedy="dmesg"):
            board.memory_read((1 << 16) - 0x1FF, 256)


def test_short_transfers_go_on_and_empty_ones_do_not(card, monkeypatch):
    with PcieMmio(card) as board:
        pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:7], at))
        board.memory_write(5, bytes(range(100)))
        assert (card / "xdma0_h2c_0").read_bytes()[5:] == bytes(range(100))
        monkeypatch.setattr(os, "pwrite", lambda *_: 0)
        with told("moved only 0 of 100 bytes to 0x5", remedy="dmesg"):
            board.memory_write(5, bytes(100))


def test_host_and_card_agree_in_their_low_address_bits(card):
    with PcieMmio(card) as board:
        for addr in (0, 1, 63, 4095, 0x12345):
            assert np.frombuffer(board._channel._view(addr, 10), np.uint8).ctypes.data % 4096 == addr % 4096


@pytest.mark.parametrize(("addr", "size"), [(-1, 1), (1 << 63, 1), ((1 << 63) - 1, 2), (0, -1)])
def test_memory_out_of_reach(card, addr, size):
    with PcieMmio(card) as board, pytest.raises(UsageError, match="63 address bits"):
        board.memory_read(addr, size)
