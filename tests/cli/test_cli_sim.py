"""The command line on the Verilated RTL, every command in lockstep with the reference model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.test_cli import TOUR
from tests.helpers import section8
from tests.helpers.command_line import BLOCK, LOAD, Kvfpga
from tests.helpers.places import DATA
from tests.helpers.random_script import Script, random_halves, random_queries, random_tables


@pytest.fixture
def kv(tmp_path):
    kv = Kvfpga(tmp_path / "session", "--target", "sim")
    kv("reset", "--raw")
    return kv


# ---- the two agree, and so do the two targets ----------------------------------------------------------------------
def test_section_8_tour_on_hardware(kv):
    lines = kv("run", DATA / "tour.kvfpga", code=1)
    shown = [line for line in lines if line.get("command") not in ("reset", "config", "weights")]
    expected = [json.loads(line) for line in (DATA / "tour.expected.jsonl").read_text().splitlines()]
    assert len(shown) == len(expected)
    for found, wanted in zip(shown, expected):
        assert section8.at_least(found, wanted), (found, wanted)
    assert all(line["checked"] for line in lines if "checked" in line)


def test_section_8_tour_of_the_ranked_policy_on_hardware(kv, monkeypatch):
    monkeypatch.chdir(DATA)
    lines = kv("run", "ranked.kvfpga", code=1)
    shown = [line for line in lines if line.get("command") not in ("reset", "config", "weights", "policy")]
    expected = [json.loads(line) for line in (DATA / "ranked.expected.jsonl").read_text().splitlines()]
    assert len(shown) == len(expected)
    for found, wanted in zip(shown, expected):
        assert section8.at_least(found, wanted), (found, wanted)
    assert all(line["checked"] for line in lines if "checked" in line)


NMCE = DATA / "nmce"
LOAD_KEYS = f"load --request 7 --layer 1 --head 2 --tokens {{}} --va 0x1000 --data {NMCE / 'block.npy'}"


@pytest.mark.parametrize("target", ["sim", "model"])
def test_r31_the_published_scores_come_to_the_bit(kv, tmp_path, target):
    kv = Kvfpga(tmp_path / "s", "--target", target)
    for number, wanted in enumerate(json.loads((NMCE / "expected.json").read_text())):
        kv("reset", "--raw")
        kv(*LOAD_KEYS.format(wanted["tokens"].split()[0]).split())
        kv("query", "write", 59 + number, NMCE / wanted["query"])
        found = kv("score", 7, 1, 2, 5, "--slot", 59 + number, "--exp")
        assert (found["score_bits"], found["checked"]) == (wanted["score_bits"], target == "sim")
    assert kv("verify")["differences"] == 0


def test_both_targets_print_the_same(kv, tmp_path):
    (tmp_path / "tour").write_text(
        TOUR + "dump\nconfig\nweights\nreg read STEP_FAST\nreg read CTRL\nreg read RTBD_HIT_COUNT\n"
        "policy ranked --table age --fill-age 9\nlookup 5 1 0 40 --touch --class 3\nstep 401\npolicy\nreg read TOUCH_HINT\n"
        "reg read 0x4000\npolicy table age\nreg read 0x7FFC\nreg read CAP_CLASSES\nreg read PTABLE_COMMIT\n"
        f"config --t1-capacity 9\n{LOAD_KEYS.format('0:20')}\nquery write 5 {NMCE / 'query1.npy'}\n"
        "score 7 1 2 3 --slot 5 --exp --class 4\nquery read 5\n"
        "score 7 1 2 3 --slot 64\nscore 7 1 2 99 --slot 0\nevict 0x1000 1\nscore 7 1 2 3 --slot 5\nevict 0x1000 1\n"
        "score 7 1 2 3 --slot 5 --wait\nreg read SCORE_SLOT\nreg read SCORE_FLAGS\nreg read TOUCH_HINT\nreg read CAP_NMCE\n"
        "reg read 0x3000\nreg write 0x8004 7\nreg read 0x8004\nreg read 0xBFFC\nreset\nquery read 5\n"
    )
    answers = []
    for target in ("sim", "model"):
        lines = Kvfpga(tmp_path / "s", "--target", target)("run", tmp_path / "tour", code=1)
        answers.append([{k: v for k, v in line.items() if k not in ("cycles", "checked")} for line in lines])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("seed", range(1, 9))
def test_random_scripts_show_no_difference_and_follow_section_8(kv, tmp_path, seed):
    (tmp_path / "keys.bin").write_bytes(random_halves(seed, 256 * BLOCK // 2).tobytes())
    lines = Script(seed, tables=random_tables(tmp_path, seed), queries=random_queries(tmp_path, seed)).lines(400)
    script = [f"mem write {256 * BLOCK} --data {tmp_path}/keys.bin", *lines, "verify"]
    (tmp_path / "random.kvfpga").write_text("\n".join(script))
    found = kv("run", tmp_path / "random.kvfpga", code=1)
    assert len(found) == len(script), kv.err
    for line, answer in zip(script, found):
        section8.check(line, answer)
        assert answer.get("checked", True)
        if section8.EXACT.count(line.split()[0]):
            assert answer["cycles"] > 0


# ---- sessions ------------------------------------------------------------------------------------------------------
def test_processes_share_one_simulated_device(tmp_path):
    def kvfpga(*words):
        command = [
            sys.executable,
            "-m",
            "kvfpga.cli.main",
            "--entries",
            "256",
            "--session",
            str(tmp_path),
            "--json",
            *words,
        ]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    kvfpga(*LOAD)
    assert kvfpga("step", "120")["matched"] == 1
    assert kvfpga("hot", "0x7f000000", "4096") | {"cycles": 0} == {
        "command": "hot", "code": "OK", "matched": 1, "index": None, "cycles": 0, "triggers": [], "checked": True
    }  # fmt: skip
    assert kvfpga("dump")["entries"][0]["pinned"]
    assert kvfpga("verify")["blocks"] == 1


def test_bytes_move_with_the_block_between_processes(kv):
    kv(*LOAD)
    home = kv("dump")["entries"][0]["phys_addr"]
    kv("mem", "write", home, "11" * BLOCK)
    kv("evict", 0x7F000000, 1)
    assert kv("mem", "read", kv("dump")["entries"][0]["phys_addr"], 3)["data"] == "111111"
    assert kv("verify")["bytes"] == BLOCK


def test_a_bus_error_exits_3_and_the_device_remembers_it(kv):
    kv(*LOAD)
    for words in (["reg", "read", "0x1F00"], ["reg", "write", "DEVICE_ID", 1], ["reg", "write", "0x400000", 1]):
        assert kv(*words, code=3) == []
        assert "bus error" in kv.err
    assert kv("reg", "read", "ERROR")["fields"] == {"bus": 1, "dma": 0, "code": 1}
    assert kv("reg", "read", "ERROR_OFFSET")["value"] == 0x1F00
    kv("reg", "write", "ERROR", 3)
    assert kv("reg", "read", "ERROR")["fields"]["bus"] == 0
    assert kv("step", 1)["checked"]


@pytest.mark.parametrize("words, why", [
    (["write", "T_MISSES", 0], "T_MISSES is a register to read (R2)"),
    (["read", 3], "words are at multiples of 4, and 0x3 is none (R2)"),
    (["write", "0x10000", 1], "no register is there"),
])  # fmt: skip
def test_what_cannot_be_accessed_is_a_bus_error_that_says_why(kv, words, why):
    kv("reg", *words, code=3)
    assert f"bus error on {words[0]}" in kv.err and why in kv.err


def test_run_stops_at_a_bus_error(kv, tmp_path):
    (tmp_path / "s").write_text("step 1\nreg read 0x1F00\nstep 2\n")
    kv("run", tmp_path / "s", code=3)
    assert "line 2" in kv.err
    assert kv("telemetry")["current_step"] == 1


def test_scratch_shows_a_reset(kv):
    kv("reg", "write", "SCRATCH", 77)
    assert kv("reg", "read", "SCRATCH")["value"] == 77
    kv("reset")
    assert kv("reg", "read", "SCRATCH")["value"] == 0


def test_memory_survives_a_reset(kv):
    kv("mem", "write", 0x1234, "ab")
    kv("reset")
    assert kv("mem", "read", 0x1234, 1)["data"] == "ab"


def test_directory_words_can_be_read(kv):
    kv(*LOAD)
    assert kv("reg", "read", "0x400000")["value"] == 0x02030001
    assert kv("reg", "read", "0x600000")["value"] == 0x7F000000


def test_info_names_the_build(kv):
    found = kv("info")
    assert (found["target"], found["entries"], found["lanes"], found["version"]) == ("sim", 256, 8, "2.0")
    assert found["build_id"] == kv("reg", "read", "BUILD_ID")["value"] != 0


def test_without_checks_the_reference_follows(tmp_path):
    unchecked = Kvfpga(tmp_path / "s", "--target", "sim", "--no-check")
    assert unchecked(*LOAD)["checked"] is False
    kv = Kvfpga(tmp_path / "s", "--target", "sim")
    assert kv("step", 1)["checked"] is True
    assert kv("verify")["blocks"] == 1


def test_demo_on_hardware_ends_with_its_checks(kv):
    assert "hardware and reference agree" in kv.text("demo").splitlines()[-1]


# ---- RTL that is wrong ---------------------------------------------------------------------------------------------


@pytest.mark.xdist_group("mutant")
def test_a_wrong_design_is_caught_and_the_failure_can_be_had_again(mutant, tmp_path, monkeypatch):
    right = Kvfpga(tmp_path / "right", "--target", "sim")
    right(*LOAD)
    monkeypatch.setenv("KVFPGA_RTL", str(mutant))
    kv = Kvfpga(tmp_path / "wrong", "--target", "sim")
    kv(*LOAD)
    kv("mem", "write", 0, "010203")
    kv("share", 0x7F000000, 1)
    kv("share", 0x7F000000, 1)

    assert kv("release", 0x7F000000, 1, code=4) == []
    for words in ("entry 0", "ref_count", "again, with a waveform"):
        assert words in kv.err
    (folder,) = (tmp_path / "wrong" / "failures").iterdir()
    report = json.loads((folder / "report.json").read_text())
    assert {"where": "entry 0", "field": "ref_count", "device": 0, "expected": 1} in report["differences"]
    assert (folder / "failing.kvfpga").read_text() == "release 0x7f000000 0x1\n"
    assert (folder / "waveform.fst").stat().st_size > 1000
    calls = [json.loads(line)["call"] for line in (folder / "mmio.jsonl").read_text().splitlines()]
    assert calls == [
        "open",
        "read_burst",
        "read_burst",
        "run",
    ]  # who is it, then one batch with the command and its checks

    # the one command, in a process of its own
    words = report["reproduce"].split(" kvfpga ", 1)[1].split()
    again = subprocess.run(
        [sys.executable, "-m", "kvfpga.cli.main", *words], capture_output=True, text=True, check=False
    )
    assert again.returncode == 4, again.stderr
    assert "ref_count" in again.stderr
    assert (folder / "again.fst").stat().st_size > 1000

    # the session is as before the command; unchecked, then synced, it goes on
    assert kv("dump")["entries"][0]["ref_count"] == 2
    Kvfpga(tmp_path / "wrong", "--target", "sim", "--no-check")("release", 0x7F000000, 1)
    kv("verify", code=4)
    kv("sync")
    kv("verify")
    assert kv("dump")["entries"][0]["ref_count"] == 0

    # state of another build is refused, and `reset` needs none
    other = Kvfpga(tmp_path / "right", "--target", "sim")
    other("step", 1, code=3)
    assert "kvfpga reset" in other.err
    other("reset")
    assert other("dump") == {"entries": []}


@pytest.mark.xdist_group("mutant")
def test_a_waveform_of_one_command(mutant, tmp_path, monkeypatch):
    """With the model that the test above has built."""
    monkeypatch.setenv("KVFPGA_RTL", str(mutant))
    kv = Kvfpga(tmp_path / "s", "--target", "sim")
    kv(*LOAD)
    traced = Kvfpga(tmp_path / "s", "--target", "sim", "--trace", str(tmp_path / "step.fst"))
    assert traced("step", 1)["checked"]
    assert (tmp_path / "step.fst").stat().st_size > 1000
    assert kv("telemetry")["current_step"] == 1
    for name in ("step.txt", "missing/step.fst"):
        Kvfpga(tmp_path / "s", "--target", "sim", "--trace", str(tmp_path / name))("step", 2, code=2)
