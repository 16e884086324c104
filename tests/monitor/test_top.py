"""`kvfpga top`: what changed between two looks, how it is shown, and that others can use the session meanwhile."""

from __future__ import annotations

import io
import json
import math
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import SessionBusy, TargetError
from kvfpga.device.regmap import TELEMETRY
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.reference import Reference
from kvfpga.monitor.look import BLOCKS_SHOWN, COUNTERS, PIECE, Blocks, Scan, Snapshot, Watch, busy_share, change, hit_rates
from kvfpga.monitor.view import WIDE, View, count, size
from kvfpga.session.session import Session
from kvfpga.targets.target import Target, parse_target
from tests.helpers.command_line import BLOCK, LOAD, Kvfpga
from tests.helpers.fake_device import FakeDevice

NEVER = ("current_step", "last_va", "last_len", "last_target_step", "t1_used", "valid_entries", "last_command_cycles",
         "step_to_trigger_cycles", "theta", "pool", "outside")  # fmt: skip
"""Telemetry that is no counter."""
ENTRY = dict(
    index=70, request_id=0xA001, layer=12, head=3, token_start=32, token_end=63, tier=1, phys_addr=0, va=0, priority=65535,
    access_step=119, ref_count=2, prefix=True, dirty=True, R=255, F=1, pinned=True, inflight=False, armed=False,
)  # fmt: skip

EMPTY = Blocks((0, 0, 0, 0), (), (), 0, True)


def snapshot(seconds=0.0, cycles=None, blocks=EMPTY, **telemetry) -> Snapshot:
    found = dict.fromkeys(TELEMETRY, 0) | telemetry
    return Snapshot(seconds, "sim", 65536, BLOCK, found, {"T1_CAPACITY": 4096}, cycles, blocks)


def text(view: View, width=100, **options) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)
    console.print(view)
    return console.file.getvalue()


# ---- between two looks -----------------------------------------------------------------------------------------------
def test_what_counts_is_what_the_device_counts():
    assert set(COUNTERS) == set(TELEMETRY) - set(NEVER)


def test_a_change_is_the_difference_and_its_rate():
    before = snapshot(10.0, 1000, evict_triggers=5, evict_bytes=5 * BLOCK, busy_cycles=100, current_step=7)
    now = snapshot(12.5, 3000, evict_triggers=10, evict_bytes=10 * BLOCK, busy_cycles=1600, current_step=9, hits_t1=3, misses=1)
    found = change(before, now)
    assert (found.seconds, found.cycles) == (2.5, 2000)
    assert (found.counters["evict_triggers"], found.per_second("evict_triggers")) == (5, 2.0)
    assert found.per_second("evict_bytes") == 2 * BLOCK
    assert found.counters["denials"] == 0 and "current_step" not in found.counters
    assert busy_share(found.counters["busy_cycles"], found.cycles) == 0.75
    assert hit_rates(found.counters) == {"hits_t0": 0, "hits_t1": 0.75, "hits_t2": 0, "hits_t3": 0, "misses": 0.25}


def test_the_first_look_has_no_change():
    assert change(None, snapshot()) is None


def test_after_a_reset_the_counters_are_what_happened_since():
    found = change(snapshot(1, 900, step_count=9, guards=1), snapshot(2, 100, step_count=4, guards=2))
    assert (found.counters["step_count"], found.counters["guards"], found.cycles) == (4, 2, None)


def test_nobody_divides_by_zero():
    assert change(snapshot(1, step_count=1), snapshot(1, step_count=2)).per_second("step_count") == 0
    assert hit_rates(dict.fromkeys(COUNTERS, 0)) is None
    assert busy_share(5, 0) is None and busy_share(5, None) is None


def test_tier_1_is_counted_by_the_device_and_what_flies_by_its_triggers():
    found = snapshot(blocks=Blocks((1, 99, 3, 4), (), (), 0, True), t1_used=2, evict_triggers=9, evict_completions=6,
                     prefetch_triggers=5, prefetch_completions=4)  # fmt: skip
    assert (found.tiers, found.in_flight) == ((1, 2, 3, 4), 4)


# ---- reading a directory over several looks --------------------------------------------------------------------------
class Slow(Reference):
    """A device on which reading a piece takes a second."""

    def __init__(self, entries=1024):
        super().__init__(ReferenceModel(entries))
        self.now, self.pieces = 0.0, []

    def read_entries(self, lo, hi):
        self.now += 1
        self.pieces.append((lo, hi))
        return super().read_entries(lo, hi)

    def fill(self, number, first=0):
        for n in range(first, first + number):
            assert self.execute(cmd.Load(1 + n // 256, n % 256, 0, 0, 31, 0x1000_0000 + n * BLOCK)).code == "OK"

    def look(self, scan, seconds):
        self.pieces.clear()
        return scan.read(self, seconds, lambda: self.now)


def test_a_scan_goes_on_where_it_stopped_and_ends_behind_the_last_block():
    device, scan = Slow(), Scan(1024)
    device.fill(600)
    assert device.look(scan, 1.5) == 512 and device.pieces == [(0, 256), (256, 512)]
    assert not scan.complete and scan.blocks(512).tiers == (0, 512, 0, 0) and not scan.blocks(512).complete
    assert device.look(scan, 1.5) == 256 and device.pieces == [(512, 768)]
    assert scan.complete and scan.current and scan.blocks(256).tiers == (0, 600, 0, 0)
    assert device.look(scan, 0) == PIECE and device.pieces == [(0, 256)]  # one piece at least, from the start again


def test_a_scan_reads_nothing_of_an_empty_directory_and_forgets_what_was_there():
    device, scan = Slow(256), Scan(256)
    device.fill(3)
    device.look(scan, math.inf)
    assert scan.blocks(0).tiers == (0, 3, 0, 0)
    device.execute(cmd.UnloadRequest(1))
    assert device.look(scan, math.inf) == 0 and scan.blocks(0) == Blocks((0, 0, 0, 0), (), (), 0, True)


def test_a_round_in_which_the_device_changed_is_not_current():
    device, scan = Slow(), Scan(1024)
    device.fill(600)
    device.look(scan, 1)
    device.execute(cmd.Unload(0x1000_0000, 1))
    scan.changed()
    device.look(scan, math.inf)
    assert scan.complete and not scan.current and scan.blocks(0).tiers == (0, 600, 0, 0)
    device.look(scan, math.inf)
    assert scan.current and scan.blocks(0).tiers == (0, 599, 0, 0)
    scan.changed()
    assert not scan.current


def test_hottest_and_coldest_are_those_of_the_dump():
    device, scan = Slow(), Scan(1024)
    device.execute(cmd.Set("T1_CAPACITY", 290))
    device.fill(300)
    device.execute(cmd.Step(100))
    device.fill(3, 300)
    device.execute(cmd.Hot(0x1000_0000 + 298 * BLOCK, 1))
    blocks = scan.blocks(scan.read(device, math.inf))
    by_priority = sorted(device.dump(), key=lambda entry: (entry["priority"], entry["index"]))
    assert list(blocks.coldest) == by_priority[:BLOCKS_SHOWN]
    hottest = sorted(by_priority, key=lambda entry: (-entry["priority"], entry["index"]))[:BLOCKS_SHOWN]
    assert list(blocks.hottest) == hottest and hottest[0]["index"] == 298
    assert sum(blocks.tiers) == 303


# ---- how it looks ----------------------------------------------------------------------------------------------------
def full_view(**more) -> View:
    blocks = Blocks((1024, 0, 20000, 7), (ENTRY,), (ENTRY | {"index": 65535, "priority": 17, "tier": 2},), 4096, True)
    telemetry = dict(
        current_step=4_294_967_295, t1_used=3072, valid_entries=24103, step_count=1200, evict_triggers=123_456_789,
        evict_completions=123_456_789, evict_bytes=123_456_789 * BLOCK, prefetch_triggers=77, prefetch_completions=77,
        prefetch_bytes=77 * BLOCK, guards=41, denials=42, saturations=43, release_refusals=44, hits_t0=0, hits_t1=750, hits_t2=50,
        hits_t3=0, misses=200, busy_cycles=987_654_321, hot_count=2, share_count=3,
    )  # fmt: skip
    now = snapshot(12.0, 2_000_000_000, blocks, **telemetry)
    before = snapshot(10.0, 1_999_999_000, blocks, **(telemetry | dict(
        step_count=1190, evict_triggers=123_456_689, evict_bytes=123_456_689 * BLOCK, hits_t1=744, misses=198,
        busy_cycles=987_654_071)))  # fmt: skip
    return View(now, change(before, now), 2.0)._replace(**more)


def rows(shown: str) -> dict[str, list[str]]:
    """The words of each line behind its name."""
    found = {}
    for line in shown.splitlines():
        name, _, rest = line.strip().partition("  ")
        found.setdefault(name.strip(), rest.split())
    return found


def test_the_view_has_the_figures():
    found = rows(text(full_view(), 100))
    assert found["kvfpga top · sim · 65,536 × 16 KiB · step 4,294,967,295 (5/s) · every 2 s"] == []
    assert found["T1"][:4] == ["3,072", "4,096", "75.0", "%"]
    assert found["T0 HBM"][:4] == ["1,024", "65,536", "1.6", "%"]
    assert found["T2 DRAM"][:2] == ["20,000", "65,536"] and found["all"][:2] == ["24,103", "65,536"]
    assert found["steps"] == ["5", "10", "1,200"]
    assert found["hints"] == ["0", "0", "5"]
    assert found["evict triggers"] == ["50", "100", "123,456,789"]
    assert found["evict bytes"] == ["800", "KiB/s", "1.6", "MiB", "1.8", "TiB"]
    assert found["prefetch bytes"] == ["0", "B/s", "0", "B", "1.2", "MiB"]
    for name, total in (("guards", "41"), ("denials", "42"), ("saturations", "43"), ("release refusals", "44")):
        assert found[name] == ["0", "0", total]
    assert found["busy cycles"] == ["125", "250", "987,654,321"]
    assert found["of the clock"] == ["25.0", "%", "49.4", "%"]
    assert found["blocks in flight"] == ["0"]
    assert found["misses"] == ["2", "25.0", "%", "200", "20.0", "%"]
    assert found["block 70"] == ["65,535", "T1", "0xa001", "12:3", "32:63", "119", "prefix", "dirty", "pinned"]
    assert found["block 65535"][:2] == ["17", "T2"]
    assert "4,096 entries read in this look" in text(full_view())


def test_lookups_show_shares():
    shown = [line.split() for line in text(full_view()).splitlines()]
    assert ["T1", "6", "75.0", "%", "750", "75.0", "%"] in shown
    assert ["T3", "NVMe", "0", "0.0", "%", "0", "0.0", "%"] in shown


def test_the_first_look_has_dashes():
    found = rows(text(full_view(change=None)))
    assert found["evict triggers"] == ["–", "–", "123,456,789"]
    assert found["misses"] == ["–", "–", "200", "20.0", "%"]
    assert "/s" not in text(full_view(change=None))


@pytest.mark.parametrize("width", [44, 50, 59, 60, 80, WIDE - 1, WIDE, 240])
def test_no_line_is_too_long_and_no_number_is_cut(width):
    shown = text(full_view(notes=("x",)), width)
    assert max(map(len, shown.splitlines())) <= width
    for figure in (
        "3,072", "4,096", "123,456,789", "1.8 TiB", "800 KiB/s", "987,654,321", "20,000", "65,535", "0xa001", "49.4 %"
    ):  # fmt: skip
        assert figure in shown, figure
    cut = [line for line in shown.splitlines() if "…" in line]
    assert all(re.search(r" (prefix|dirty|pinned|pre)[a-z ]*… *$", line) for line in cut), cut


def test_wide_terminals_show_two_halves():
    assert len(text(full_view(), WIDE).splitlines()) < len(text(full_view(), WIDE - 1).splitlines()) - 8


def test_a_tiny_terminal_is_no_error():
    for width in (1, 7, 20):
        assert text(full_view(), width)


def test_what_is_not_known_yet_is_said():
    view = full_view()
    blocks = view.snapshot.blocks._replace(complete=False, tiers=(5, 100, 20, 0))
    shown = text(view._replace(snapshot=replace(view.snapshot, blocks=blocks)))
    assert rows(shown)["T2 DRAM"][:2] == ["≥", "20"] and rows(shown)["T1"][0] == "3,072"
    assert "read over several looks: 125 of 24,103 blocks so far" in shown


def test_errors_and_notes_are_at_the_foot():
    view = full_view(notes=("the board is in use by another session",))
    broken = replace(view.snapshot, telemetry=view.snapshot.telemetry | {"dma_errors": 3})
    shown = text(view._replace(snapshot=broken))
    assert "dma_errors 3: see `kvfpga reg read ERROR`" in shown and "in use by another session" in shown
    assert "results_lost" not in shown


def test_an_empty_device_is_shown():
    shown = text(View(snapshot(), None))
    assert rows(shown)["hottest"] and rows(shown)["all"][:4] == ["0", "65,536", "0.0", "%"]
    assert text(View(replace(snapshot(), settings={"T1_CAPACITY": 0}), None))


def test_numbers_for_people():
    assert [count(v) for v in (0, 7, 7.0, 7.25, 99.96, 1234567.8)] == ["0", "7", "7", "7.2", "100.0", "1,234,568"]
    assert [size(v) for v in (0, 1023, 1024, 1536, 5 << 20, 3 << 30, 1 << 50)] == [
        "0 B", "1,023 B", "1 KiB", "1.5 KiB", "5 MiB", "3 GiB", "1,024 TiB"
    ]  # fmt: skip


# ---- on the command line ---------------------------------------------------------------------------------------------
KEYS = ["command", "code", "target", "entries", "in_use", "step", "seconds", "tiers", "telemetry", "since", "per_second",
        "hit_rates", "busy", "in_flight", "directory", "hottest", "coldest"]  # fmt: skip


@pytest.fixture
def kv(tmp_path):
    kv = Kvfpga(tmp_path / "session")
    kv("reset", "--raw")
    return kv


@pytest.fixture
def sim(tmp_path, monkeypatch):
    """The same on the small simulation that the other tests use."""
    from kvfpga.contract.parameters import Parameters
    from tests.helpers.small_device import DATA_BITS, ENTRIES, LANES

    monkeypatch.setattr(Target, "parameters", property(lambda self: Parameters(ENTRIES, LANES, DATA_BITS)))
    kv = Kvfpga(tmp_path / "session", "--target", "sim", "--lanes", str(LANES))
    kv("reset", "--raw")
    return kv


def test_once_is_one_object(kv):
    kv(*LOAD)
    kv("evict", "0x7f000000", 1)
    found = kv("top", "--once")
    assert list(found) == KEYS
    assert (found["command"], found["code"], found["target"], found["step"], found["in_use"]) == ("top", "OK", "model", 0, False)
    assert found["tiers"] == [{"tier": tier, "blocks": int(tier == 2), "capacity": 256} for tier in range(4)]
    assert found["telemetry"] == kv("telemetry")
    assert found["hottest"] == found["coldest"] == kv("dump")["entries"]
    assert (found["seconds"], found["since"], found["per_second"]) == (None, None, None)
    assert found["directory"] == {"read": 256, "complete": True} and found["in_flight"] == 0
    assert found["busy"] == {"since": None, "all": None}


def test_once_for_people(kv):
    kv(*LOAD)
    shown = kv.text("top", "--once")
    assert "kvfpga top · model · 256 × 16 KiB · step 0\n" in shown
    assert rows(shown)["T1"][:2] == ["1", "256"] and rows(shown)["block 0"][0] == "766"
    assert "\x1b" not in shown and "every" not in shown


def test_looking_changes_nothing(sim):
    sim(*LOAD)
    before = sim("info")["commands"], sim("telemetry"), sim("dump")
    generation = (sim_folder(sim) / "sim" / "current").read_text()
    assert len(sim("top", "--count", 3, "--interval", 0.1)) == 3
    assert (sim("info")["commands"], sim("telemetry"), sim("dump")) == before
    assert (sim_folder(sim) / "sim" / "current").read_text() == generation
    sim("verify")


def sim_folder(kv):
    from pathlib import Path

    return Path(kv.options[kv.options.index("--session") + 1])


def test_a_new_session_is_made_as_by_every_command(tmp_path):
    kv = Kvfpga(tmp_path / "new")
    assert kv("top", "--once")["telemetry"]["valid_entries"] == 0
    assert "new session in" in kv.err
    kv("top", "--once")
    assert kv.err == ""


def during(kv, words, command, looks=4):
    """Objects of a top during which `command` is called, after the first of them."""
    real, called = Watch.look, []

    def look(self, *given, **named):
        if self._last and not called:
            called.append(1)
            command()
        return real(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "look", look)
        return kv("top", "--count", looks, "--interval", 0.1, *words)


@pytest.mark.parametrize("target", ["kv", "sim"])
def test_commands_run_between_two_looks_and_show(target, request):
    kv = request.getfixturevalue(target)
    other = Kvfpga(sim_folder(kv), *kv.options[4:])
    kv(*LOAD)

    def command():
        other("step", 300)
        other("evict", "0x7f000000", 1)
        other("lookup", 1, 2, 3, 4)
        other("lookup", 9, 2, 3, 4)

    first, second, third, _ = during(kv, [], command)
    assert first["step"] == 0 and first["since"] is None
    assert second["step"] == 300 and 0 < second["seconds"]
    since = {name: value for name, value in second["since"].items() if value}
    cycles = since.pop("busy_cycles", 0)
    assert since == {
        "step_count": 1, "evict_count": 1, "evict_triggers": 1, "evict_completions": 1, "evict_bytes": BLOCK, "hits_t2": 1,
        "misses": 1,
    }  # fmt: skip
    assert second["per_second"]["evict_bytes"] == pytest.approx(BLOCK / second["seconds"], rel=1e-3)
    assert second["hit_rates"]["since"] == {"hits_t0": 0, "hits_t1": 0, "hits_t2": 0.5, "hits_t3": 0, "misses": 0.5}
    assert [tier["blocks"] for tier in second["tiers"]] == [0, 0, 1, 0] and second["coldest"][0]["tier"] == 2
    if target == "sim":
        assert cycles > 0 and 0 < second["busy"]["since"] < 1 and 0 < second["busy"]["all"] < 1
    assert not any(third["since"].values()) and third["directory"] == {"read": 0, "complete": True}
    assert third["hottest"] == second["hottest"]


def test_a_reset_meanwhile_is_no_negative_rate(kv):
    kv("step", 5)
    other = Kvfpga(sim_folder(kv))
    second = during(kv, [], lambda: (other("reset", "--raw"), other("step", 2)), 2)[1]
    assert (second["step"], second["since"]["step_count"]) == (2, 1)


def test_another_size_meanwhile_is_looked_at_anew(tmp_path):
    """`reset` with another size starts the session anew; a top that was not told a size goes along."""
    kv = Kvfpga(tmp_path)
    kv.options = ["--target", "model", "--session", str(tmp_path)]
    Kvfpga(tmp_path)("reset")
    other = Kvfpga(tmp_path, "--entries", "512")
    found = during(kv, [], lambda: (other("reset"), other(*LOAD)), 3)
    assert [look["entries"] for look in found] == [256, 512, 512]
    assert found[1]["tiers"][1]["blocks"] == 1


# ---- while another command has the session ---------------------------------------------------------------------------
def test_a_look_does_not_wait_for_a_long_command(tmp_path):
    target = parse_target("model", 256)
    watch = Watch(target, tmp_path)
    assert watch.look(1).telemetry["valid_entries"] == 0
    with Session(target, tmp_path) as session:
        device = session.open()
        device.execute(cmd.Load(1, 0, 0, 0, 31, 0))
        assert watch.look(1, wait=0.05) is None
        session.save()
    assert watch.look(1, wait=0.05).telemetry["valid_entries"] == 1


def test_the_first_look_waits_as_every_command_does(tmp_path, monkeypatch):
    from kvfpga.session import session as sessions

    target, said = parse_target("model", 256), []
    with Session(target, tmp_path) as session:
        session.open()
        monkeypatch.setattr(sessions, "LOCK_TIMEOUT", 0.1)
        with pytest.raises(SessionBusy, match="another kvfpga has used"):
            Watch(target, tmp_path, say=said.append).look(1)
    assert said == ["waiting for another kvfpga that uses this session"]


def test_a_session_in_use_is_said(kv):
    real = Watch.look
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "look", lambda self, s, wait=None: real(self, s, wait) if wait is None else None)
        first, second = kv("top", "--count", 2, "--interval", 0.1)
    assert (first["in_use"], second["in_use"]) == (False, True)
    assert second["since"] is None and second["telemetry"] == first["telemetry"]


def test_a_running_top_keeps_nobody_from_the_session(kv):
    """Many commands beside a top that looks as often as it can: both get through."""
    found, top = [], Kvfpga(sim_folder(kv))
    thread = threading.Thread(target=lambda: found.extend(run_quietly(sim_folder(kv), 12)))
    thread.start()
    for n in range(1, 16):
        kv("step", n)
    thread.join()
    assert kv("telemetry")["current_step"] == 15 == top("telemetry")["step_count"]
    steps = [look["step"] for look in found]
    assert len(steps) == 12 and steps == sorted(steps)


def run_quietly(folder, looks):
    """A top in a process of its own; its objects."""
    words = ["--target", "model", "--entries", "256", "--session", str(folder), "--json", "top", "--count", str(looks)]
    done = subprocess.run(
        [sys.executable, "-m", "kvfpga.cli.main", *words, "--interval", "0.1"], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


# ---- boards ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def board(monkeypatch):
    fake = FakeDevice()
    monkeypatch.setattr(Target, "open_mmio", lambda self, *_, **__: fake)
    monkeypatch.setattr(Target, "check_build", lambda *_: None)
    return fake


@pytest.fixture
def on_board(board, tmp_path):
    kv = Kvfpga(tmp_path / "session")
    kv.options = ["--target", "uart:fake", "--session", str(tmp_path / "session")]
    kv("reset", "--raw")
    return kv


def test_a_board_is_let_go_between_two_looks(on_board, board):
    on_board(*LOAD)
    other = Kvfpga(sim_folder(on_board))
    other.options = on_board.options
    first, second, third = during(on_board, [], lambda: other("step", 9), 3)
    assert (first["step"], second["step"], third["step"]) == (0, 9, 9)
    assert second["since"]["step_count"] == 1 and second["busy"] == {"since": None, "all": None}
    assert third["directory"]["read"] == 0
    assert other("step", 10)["checked"]  # the session still knows its board


def test_looking_at_a_board_writes_nothing_to_it(on_board, board):
    on_board(*LOAD)
    board.writes.clear()
    on_board("top", "--count", 2, "--interval", 0.1)
    assert board.writes == []


def test_a_board_that_belongs_to_another_session_is_shown_and_said_once(on_board, board):
    on_board(*LOAD)
    board.stored["SCRATCH"] = 4711
    found = on_board("top", "--count", 3, "--interval", 0.1)
    assert len(found) == 3 and found[0]["tiers"][1]["blocks"] == 1
    assert on_board.err.count("another session or program has used the board") == 1


def test_a_board_that_goes_away_ends_it_with_3(on_board, board, monkeypatch):
    def unplug():
        def gone(self, *_, **__):
            raise TargetError("the port is gone", "plug it in again")

        monkeypatch.setattr(Target, "open_mmio", gone)

    monkeypatch.setattr(Kvfpga, "__call__", lambda self, *words: self.run(*words))
    out = during(on_board, [], unplug, 3)
    assert on_board.code == 3 and "the port is gone" in on_board.err and "plug it in again" in on_board.err
    assert len(out.splitlines()) == 1


# ---- how it ends -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "words, message",
    [
        (["--interval", "0"], "not between 0.1 and 3600 seconds"),
        (["--interval", "nan"], "not between"),
        (["--interval", "soon"], "not a valid float"),
        (["--count", "0"], "x>=1"),
        (["--once", "--count", "2"], "not both"),
    ],
)
def test_usage_errors(kv, words, message):
    kv.run("top", *words)
    assert kv.code == 2 and message in kv.err


def test_a_recording_of_looks_is_refused(kv, tmp_path):
    kv.run("--target", "sim", "--record", str(tmp_path / "calls"), "top", "--once")
    assert kv.code == 2 and "not for top" in kv.err


def test_ctrl_c_ends_it_with_0(kv, monkeypatch):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("kvfpga.cli.top.time.sleep", interrupted)
    assert kv("top")["command"] == "top"
    assert kv.err == ""


def command_line(kv, *words):
    return [sys.executable, "-m", "kvfpga.cli.main", *kv.options, *words]


def test_a_reader_that_has_seen_enough_ends_it_with_0(kv):
    top = subprocess.Popen(
        command_line(kv, "--json", "top", "--interval", "0.1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert json.loads(top.stdout.readline())["command"] == "top"
    top.stdout.close()
    assert (top.wait(120), top.stderr.read()) == (0, "")


@pytest.mark.parametrize("how", ["ctrl-c", "terminate"])
def test_live_on_a_terminal(kv, how):
    """In the terminal's other screen, which is left at the end with the last view below what was there."""
    kv(*LOAD)
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, command_line(kv, "top", "--interval", "0.1"))
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 100, 0, 0))
    shown, until, asked = b"", time.monotonic() + 120, False
    while time.monotonic() < until:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        shown += data
        if shown.count(b"kvfpga top") >= 3 and not asked:
            asked = True
            os.write(terminal, b"\x03") if how == "ctrl-c" else os.kill(pid, signal.SIGTERM)
    else:  # it did not end, and would wait for a reader for ever
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    enter, leave = shown.index(b"\x1b[?1049h"), shown.index(b"\x1b[?1049l")
    assert enter < leave and shown.rindex(b"\x1b[?25l") < shown.rindex(b"\x1b[?25h"), "the cursor is shown again"
    last = shown[leave:].decode()
    assert "kvfpga top" in last and "block 0" in last and "Traceback" not in last


def test_without_textual_a_terminal_is_refused_and_told_what_to_install(kv):
    """Nothing else is: a pipe goes without."""
    start = "import sys; sys.modules['textual'] = None; from kvfpga.cli.main import main; main()"
    command = [sys.executable, "-c", start, *kv.options, "top", "--count", "1"]
    terminal, other_side = pty.openpty()
    refused = subprocess.run(command, stdout=other_side, stderr=subprocess.PIPE, text=True)
    os.close(other_side)
    os.close(terminal)
    assert refused.returncode == 2 and "textual" in refused.stderr and "pip install 'kvfpga[top]'" in refused.stderr
    piped = subprocess.run(command, capture_output=True, text=True)
    assert piped.returncode == 0 and "kvfpga top" in piped.stdout


def test_the_help_names_what_it_shows(kv):
    shown = kv.text("top", "--help")
    assert "--interval" in shown and "--once" in shown and "lets go of the device" in " ".join(shown.split())
