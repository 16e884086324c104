"""The command line of contract section 8, from outside: what it prints, where, and its exit codes.

Most of it runs with --target model, where no compiler is needed; `test_cli_sim.py` has what only hardware shows.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from kvfpga.cli.main import cli
from kvfpga.contract.presets import PRESETS
from tests.helpers import section8
from tests.helpers.command_line import BLOCK, LOAD, Kvfpga
from tests.helpers.places import DATA
from tests.helpers.traces import AGENTS, CHATS

RESULT = ["command", "code", "matched", "index", "cycles", "triggers", "checked"]
ENTRY = [
    "index", "request_id", "layer", "head", "token_start", "token_end", "tier", "phys_addr", "va", "priority",
    "access_step",
    "ref_count", "prefix", "dirty", "R", "F", "pinned", "inflight", "armed", "class", "order",
]  # fmt: skip


@pytest.fixture
def kv(tmp_path):
    kv = Kvfpga(tmp_path / "session")
    kv("reset", "--raw")
    return kv


# ---- results, to the letter ----------------------------------------------------------------------------------------
def test_a_result_has_the_keys_of_section_8_in_order(kv):
    assert kv(*LOAD) == {
        "command": "load", "code": "OK", "matched": 1, "index": 0, "cycles": 0, "triggers": [], "checked": False
    }  # fmt: skip
    hints = [[name, 0, 1] for name in ("hot", "evict", "share", "release", "unload")]
    for words in (["step", 1], *hints, ["prefetch", 0, 1, 5], ["unload", "--request", 7]):
        found = kv(*words)
        assert list(found) == RESULT
        assert found["command"] == words[0]


def test_triggers_name_index_channel_from_and_to(kv):
    kv(*LOAD)
    assert kv("evict", "0x7f000000", 1)["triggers"] == [{"index": 0, "channel": "evict", "from": 1, "to": 2}]


def test_a_lookup_has_hit_tier_and_phys_addr(kv):
    kv(*LOAD)
    found = kv("lookup", 1, 2, 3, 5)
    assert list(found) == [*RESULT, "hit", "tier", "phys_addr"]
    assert (found["index"], found["hit"], found["tier"], found["phys_addr"]) == (0, True, 1, 256 * BLOCK)
    found = kv("lookup", 9, 2, 3, 5, "--touch")
    assert (found["command"], found["matched"], found["index"], found["hit"], found["tier"], found["phys_addr"]) == (
        "lookup", 0, None, False, None, None
    )  # fmt: skip


def test_a_refusal_is_printed_and_exits_1(kv):
    kv(*LOAD)
    assert kv(*LOAD, code=1) == {
        "command": "load", "code": "ERR_EXISTS", "matched": 0, "index": None, "cycles": 0, "triggers": [],
        "checked": False
    }  # fmt: skip
    assert kv("hot", 0, 0, code=1)["code"] == "ERR_LEN"
    assert kv("hot", (1 << 64) - 1, 2, code=1)["code"] == "ERR_LEN"
    assert kv("step", 1 << 32, code=1)["code"] == "ERR_RANGE"
    assert kv("unload", "--request", 1 << 16, code=1)["code"] == "ERR_RANGE"
    kv("step", 9)
    assert kv("step", 8, code=1)["code"] == "ERR_STEP_ORDER"
    assert kv("prefetch", 0, 1, 8, code=1)["code"] == "ERR_STEP_ORDER"


def test_dump(kv):
    assert kv("dump") == {"entries": []}
    kv(*LOAD)
    found = kv("dump")
    assert list(found) == ["entries"]
    assert list(found["entries"][0]) == ENTRY
    assert [type(found["entries"][0][name]) for name in ENTRY] == [int] * 12 + [bool] * 2 + [int] * 2 + [bool] * 3 + [int] * 2


def test_telemetry(kv):
    kv(*LOAD)
    kv("step", 3)
    found = kv("telemetry")
    r23 = ["current_step", "step_count", "hot_count", "evict_count", "prefetch_count", "share_count", "last_va",
        "last_len",
           "last_target_step"]  # fmt: skip
    assert list(found)[:9] == r23
    assert (found["current_step"], found["step_count"], found["valid_entries"]) == (3, 1, 1)
    assert all(type(value) is int for value in found.values())


def test_json_is_alone_on_stdout(tmp_path):
    kv = Kvfpga(tmp_path / "new")
    assert kv("step", 1)["code"] == "OK"
    assert "preset balanced" in kv.err


def test_section_8_tour(kv):
    """The script and results that came with the contract."""
    lines = kv("run", DATA / "tour.kvfpga", code=1)
    shown = [line for line in lines if line.get("command") not in ("reset", "config", "weights")]
    expected = [json.loads(line) for line in (DATA / "tour.expected.jsonl").read_text().splitlines()]
    assert len(shown) == len(expected)
    for found, wanted in zip(shown, expected):
        assert section8.at_least(found, wanted), (found, wanted)


def test_section_8_tour_of_the_ranked_policy(kv, monkeypatch):
    """Likewise; it names a table by where it lies."""
    monkeypatch.chdir(DATA)
    lines = kv("run", "ranked.kvfpga", code=1)
    shown = [line for line in lines if line.get("command") not in ("reset", "config", "weights", "policy")]
    expected = [json.loads(line) for line in (DATA / "ranked.expected.jsonl").read_text().splitlines()]
    assert len(shown) == len(expected) == 141
    for found, wanted in zip(shown, expected):
        assert section8.at_least(found, wanted), (found, wanted)


TOUR = """
# three blocks, a place for two
reset --raw
config --t1-capacity 2
weights preset balanced
load --request 0 --layer 1 --head 0 --tokens 0:31 --va 0x10000        # 0, shared prefix
load --request 5 --layer 1 --head 0 --tokens 32:63 --va 0x14000       # 1
load --request 5 --layer 1 --head 0 --tokens 64:95 --va 0x18000       # 2, T1 is full
share 0x10000 1
lookup 5 1 0 3                                                          # the prefix
step 400
prefetch 0x18000 1 500
unload 0x10000 1                                                        # guarded
release 0x10000 1
unload 0x10000 1
"""


def test_a_tour_of_our_own(kv, tmp_path):
    (tmp_path / "tour.kvfpga").write_text(TOUR)
    lines = kv("run", tmp_path / "tour.kvfpga")
    short = [
        (line["command"], line["matched"], line["index"], [t["index"] for t in line["triggers"]]) for line in lines[3:]
    ]
    assert short == [
        ("load", 1, 0, []), ("load", 1, 1, []), ("load", 1, 2, []), ("share", 1, None, []), ("lookup", 1, 0, []),
        ("step", 3, None, [1]), ("prefetch", 1, None, [2]), ("unload", 1, None, []), ("release", 1, None, []),
        ("unload", 1, None, []),
    ]  # fmt: skip
    assert [entry["tier"] for entry in kv("dump")["entries"]] == [2, 1]
    assert kv("telemetry")["guards"] == 1


# ---- numbers and usage ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "words",
    [
        ["step"], ["step", "-1"], ["step", "1.5"], ["step", "1e3"], ["step", "0b1"], ["step", "1_000"], ["step", "0x"],
        ["step", str(1 << 64)], ["hot", "1"], ["hot", "0x1ffffffffffffffff", "1"], ["load"], [*LOAD, "--tier", "4"],
        ["load", "--request", "65536", *LOAD[3:]], [*LOAD[:4], "256", *LOAD[5:]],
        [*LOAD[:-4], "--tokens", "0", *LOAD[-2:]], [*LOAD[:-4], "--tokens", "0:0x100000000", *LOAD[-2:]],
        ["load", "nofile.csv"], ["unload"], ["unload", "1"],
        ["unload", "1", "2", "--request", "3"], ["lookup", "1", "2", "3"], ["lookup", "1", "2", "3", str(1 << 32)],
        ["weights", "set"], ["weights", "preset", "best"], ["config", "--evict-tier", "1"], ["config", "--strict", "2"],
        ["nothing"], ["reg", "read", "NOTHING"], ["reg", "write", "WINDOW"], ["mem", "read", "0"], ["run", "nofile"],
        ["mem", "write", "0"], ["mem", "write", "0", "xyz"], ["mem", "read", "0xffffffffffffffff", "2"],
    ],
)  # fmt: skip
def test_usage_exits_2_and_prints_nothing_on_stdout(kv, words):
    assert kv(*words, code=2) == []
    assert kv.err


@pytest.mark.parametrize("options", [["--entries", "100"], ["--lanes", "5"], ["--target", "nothing"], ["--nothing"]])
def test_wrong_options_exit_2(tmp_path, options):
    kv = Kvfpga(tmp_path, *options)
    assert kv("step", 1, code=2) == []


@pytest.mark.parametrize("words, said", [
    (["hto"], "; did you mean top or hot?"), (["lab", "prov"], "; did you mean prove?"),
    (["mem", "reed"], "; did you mean read?"), (["frobnicate"], "."), (["help"], "; did you mean --help or shell?"),
])  # fmt: skip
def test_a_command_that_is_none_names_what_may_be_meant(kv, words, said):
    kv(*words, code=2)
    assert f"No such command {words[-1]!r}{said}" in kv.err


@pytest.mark.parametrize("target", ["uart:/dev/no-such-port", "xdma:/no/such/folder", "unix:/no/such/socket"])
def test_targets_that_cannot_be_reached_exit_3(tmp_path, target):
    kv = Kvfpga(tmp_path)
    kv.options = ["--target", target, "--session", str(tmp_path)]
    assert kv("step", 1, code=3) == []
    assert len(kv.err.splitlines()) == 2


def test_the_package_can_be_run_as_a_module(tmp_path):
    command = [sys.executable, "-m", "kvfpga", "--target", "model", "--session", str(tmp_path), "--json", "evict", "0", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["command"] == "evict"
    assert "Usage: kvfpga " in subprocess.run([*command, "more"], capture_output=True, text=True).stderr


def test_a_reader_that_goes_away_does_not_lose_the_command(tmp_path):
    """kvfpga … | head"""
    options = ["--target", "model", "--entries", "256", "--session", str(tmp_path)]
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "kvfpga.cli.main", *options, "step", "7"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    kv = Kvfpga(tmp_path)
    assert kv("telemetry")["current_step"] == 7


def test_numbers_are_decimal_or_hex(kv):
    kv("step", "0x10")
    kv("step", "017")
    assert kv("telemetry")["current_step"] == 17


# ---- settings ------------------------------------------------------------------------------------------------------
def test_reset_programs_balanced_and_raw_the_reset_values(kv):
    assert {k: v for k, v in kv("weights").items() if k in PRESETS["seed"]} == PRESETS["seed"]
    kv(*LOAD)
    assert kv("reset")["code"] == "OK"
    assert {k: v for k, v in kv("weights").items() if k in PRESETS["seed"]} == PRESETS["balanced"]
    assert kv("dump") == {"entries": []}
    kv("weights", "preset", "seed")
    assert kv("weights")["w_d"] == 200


def test_weights_set(kv):
    found = kv(
        "weights",
        "set",
        "--w-r",
        1,
        "--w-f",
        "0x2",
        "--w-s",
        3,
        "--w-d",
        4,
        "--evict",
        5,
        "--prefetch",
        6,
        "--window",
        7,
    )
    assert list(found)[:7] == RESULT
    expected = dict(w_r=1, w_f=2, w_s=3, w_d=4, evict=5, prefetch=6, window=7)
    assert {name: kv("weights")[name] for name in expected} == expected


@pytest.mark.parametrize("wide", [["--w-d", 256], ["--window", 256], ["--evict", 65536], ["--prefetch", (1 << 64) - 1]])
def test_a_refused_weight_leaves_all_of_them_alone(kv, wide):
    before = kv("weights")
    assert kv("weights", "set", "--w-r", 9, "--w-f", 9, *wide, code=1)["code"] == "ERR_RANGE"
    assert kv("weights") == before


def test_weights_that_let_scores_wrap_are_warned_about(kv):
    kv("weights", "set", "--w-r", 255)
    assert "add up to 458" in kv.err
    kv("weights", "preset", "balanced")
    assert "add up" not in kv.err


def test_config(kv):
    found = kv("config", "--t1-capacity", 5, "--evict-tier", 3, "--strict", 0)
    assert list(found)[:7] == RESULT
    shown = kv("config")
    assert (shown["t1_capacity"], shown["evict_tier"], shown["strict"]) == (5, 3, 0)
    assert shown["tier_base"][1] == 256 * BLOCK


def test_a_refused_config_changes_nothing(kv):
    before = kv("config")
    assert kv("config", "--strict", 0, "--evict-tier", 3, "--t1-capacity", 257, code=1)["code"] == "ERR_RANGE"
    assert kv("config") == before
    kv(*LOAD)
    assert kv("config", "--t1-capacity", 5, "--evict-tier", 3, code=1)["code"] == "ERR_NOT_EMPTY"
    assert kv("config") == before


def test_counters_can_be_cleared(kv):
    kv("step", 3)
    kv("config", "--clear-counters")
    found = kv("telemetry")
    assert (found["current_step"], found["step_count"]) == (3, 0)


# ---- load FILE and --data ------------------------------------------------------------------------------------------
ROWS = [
    {"request": "0xA001", "layer": 1, "head": 2, "tokens": "32:40", "va": 65536},
    {"request": 7, "layer": 1, "head": 2, "tokens": "0:31", "va": "0x14000", "tier": 2},
]
FILES = {
    "blocks.jsonl": "\n".join(map(json.dumps, ROWS)),
    "blocks.json": json.dumps(ROWS),
    "blocks.yaml": "- {request: 0xA001, layer: 1, head: 2, tokens: 32:40, va: 0x10000}\n"
    "- request: 7\n  layer: 1\n  head: 2\n  tokens: 0:31\n  va: 0x14000\n  tier: 2\n",
    "blocks.csv": "request,layer,head,tokens,va,tier\n0xA001,1,2,32:40,0x10000,\n7, 1, 2, 0:31, 0x14000, 2\n",
}


@pytest.mark.parametrize("name", FILES)
def test_load_file(kv, tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    found = kv("load", tmp_path / name)
    assert list(found) == [*RESULT, "loaded"]
    assert (found["code"], found["matched"], found["index"]) == ("OK", 2, None)
    assert [row["index"] for row in found["loaded"]] == [0, 1]
    names = ("request_id", "layer", "head", "token_start", "token_end", "va", "tier")
    entries = [tuple(entry[name] for name in names) for entry in kv("dump")["entries"]]
    assert entries == [(0xA001, 1, 2, 32, 40, 0x10000, 1), (7, 1, 2, 0, 31, 0x14000, 2)]


@pytest.mark.parametrize(("rows", "said"), [(ROWS[:1], "1 of 1 block of b.jsonl"), (ROWS, "2 of 2 blocks of b.jsonl")])
def test_what_people_see_of_a_loaded_file(kv, tmp_path, rows, said):
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shown = kv.text("load", tmp_path / "b.jsonl")
    assert said in shown and "None" not in shown
    assert f"load: OK · {len(rows)} block{'s' * (len(rows) > 1)} · " in shown


def test_one_of_a_kind_has_no_s(kv):
    """Every command that counts something, on a device with one block, one byte, one command."""
    kv(*LOAD)
    shown = "".join(
        kv.text(*words) + kv.err
        for words in (["dump"], ["step", 1], ["mem", "write", 256 * BLOCK, "07"], ["verify"], ["sync"], ["info"], ["telemetry"])
    )
    assert re.search(r"^1 block *$", shown, re.MULTILINE) and "1 byte written" in shown
    assert not re.search(r"\b1 (?!cycles\b)[a-z]+s\b", shown), shown
    assert "None" not in shown


def test_load_file_goes_on_past_a_refused_row_and_names_it(kv, tmp_path):
    rows = [ROWS[0], ROWS[0], ROWS[1] | {"tokens": "1:31"}, ROWS[1]]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = kv("load", tmp_path / "b.jsonl", code=1)
    assert [row["code"] for row in found["loaded"]] == ["OK", "ERR_EXISTS", "ERR_RANGE", "OK"]
    assert (found["code"], found["matched"]) == ("ERR_EXISTS", 2)
    assert "row 2: refused, ERR_EXISTS" in kv.err


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("b.csv", "request,layer\n1,2\n", "head, tokens, va missing"),
        ("b.csv", FILES["blocks.csv"].replace("tier", "colour"), "unknown name colour"),
        ("b.csv", FILES["blocks.csv"].replace("7,", "70000,"), "row 3: request 70000 does not fit into 16 bits: 0 to 65,535"),
        ("b.csv", FILES["blocks.csv"].replace("0:31", "31"), "not START:END"),
        ("b.csv", "request\n1,2\n", "more values"),
        ("b.yaml", "request: 1", "not a list"),
        ("b.yaml", "- [", "not YAML"),
        ("b.yaml", "- 1", "not a mapping"),
        ("b.jsonl", json.dumps(ROWS[0]) + "\n{", "line 2 is not JSON"),
        ("b.json", "[{]", "not JSON"),
        ("b.jsonl", json.dumps(ROWS[0] | {"va": -1}), "not a number"),
        ("b.jsonl", json.dumps(ROWS[0] | {"va": 1.5}), "not a number"),
        ("b.jsonl", json.dumps(ROWS[0] | {"data": "none.npy"}), "none.npy"),
        ("b.txt", "", "not a kind of file"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_leaves_the_device_alone(kv, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    kv("load", tmp_path / name, code=2)
    assert message in kv.err
    assert kv("dump") == {"entries": []}


def test_load_data_goes_where_the_block_lands(kv, tmp_path):
    content = np.arange(BLOCK // 2, dtype=np.float16).reshape(2, 32, 128)
    np.save(tmp_path / "block.npy", content)
    kv("config", "--t1-capacity", 0)
    kv(*LOAD, "--data", tmp_path / "block.npy")
    at = kv("dump")["entries"][0]["phys_addr"]
    assert at == 2 * 256 * BLOCK
    kv("mem", "read", at, BLOCK, "--out", tmp_path / "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == content.tobytes()


@pytest.mark.parametrize("content", [np.zeros(BLOCK, np.float16), np.zeros(3), None])
def test_load_data_of_another_size_is_a_mistake(kv, tmp_path, content):
    (tmp_path / "b.npy").write_text("no array") if content is None else np.save(tmp_path / "b.npy", content)
    kv(*LOAD, "--data", tmp_path / "b.npy", code=2)
    assert kv("dump") == {"entries": []}


def test_data_of_a_file_is_beside_it(kv, tmp_path):
    np.save(tmp_path / "b.npy", np.full(BLOCK, 7, np.uint8))
    (tmp_path / "b.jsonl").write_text(json.dumps(ROWS[0] | {"data": "b.npy"}))
    kv("load", tmp_path / "b.jsonl")
    assert kv("mem", "read", 256 * BLOCK, 3)["data"] == "070707"


# ---- run -----------------------------------------------------------------------------------------------------------
def script(tmp_path, text):
    path = tmp_path / "script.kvfpga"
    path.write_text(text)
    return path


def test_run_goes_on_past_a_refusal_with_the_worst_code(kv, tmp_path):
    lines = kv("run", script(tmp_path, "step 5\n\n  # nothing\nstep 4 # back\nstep 6\n"), code=1)
    assert [line["code"] for line in lines] == ["OK", "ERR_STEP_ORDER", "OK"]
    assert kv("telemetry")["current_step"] == 6


def test_run_names_the_line_that_it_cannot_understand(kv, tmp_path):
    lines = kv("run", script(tmp_path, "step 5\nstop 6\nstep 'x\nrun x\nstep 7\n"), code=2)
    assert [line["code"] for line in lines] == ["OK", "OK"]
    for number in (2, 3, 4):
        assert f"line {number}:" in kv.err


def test_run_quotes_like_a_shell(kv, tmp_path):
    np.save(tmp_path / "a b.npy", np.zeros(BLOCK, np.uint8))
    kv("run", script(tmp_path, f"{' '.join(LOAD)} --data '{tmp_path}/a b.npy'\n"))
    assert kv("telemetry")["valid_entries"] == 1


def test_run_reads_standard_input(tmp_path):
    result = CliRunner().invoke(
        cli,
        ["--target", "model", "--entries", "256", "--session", str(tmp_path), "--json", "run", "-"],
        input="step 3\n",
    )
    assert json.loads(result.stdout)["command"] == "step"


def test_help_within_a_script_is_no_command(kv, tmp_path):
    assert "Advance the decode step" in kv.run("run", script(tmp_path, "step --help\n"))
    assert kv.code == 0


# ---- registers and memory ------------------------------------------------------------------------------------------
def test_reg_write_of_a_doorbell_is_its_command(kv):
    kv(*LOAD)
    kv("reg", "write", "IMEVICT_ADDR", "0x7f000000")
    found = kv("reg", "write", "IMEVICT_LEN", 1)
    assert found["command"] == "reg"
    assert found["triggers"] == [{"index": 0, "channel": "evict", "from": 1, "to": 2}]
    assert kv("reg", "read", "imevict_addr")["value"] == 0x7F000000
    assert kv("telemetry")["evict_count"] == 1


@pytest.mark.parametrize(
    "writes, counter, value",
    [
        ([("STEP_FAST", 9)], "current_step", 9),
        ([("STEP_ADVANCE", 9)], "current_step", 9),
        ([("0x100", 9)], "current_step", 9),
        ([("0", 9)], "current_step", 9),
        ([("BOOST_LEN", 5)], "last_len", 5),
        ([("PREFETCH_LEN", 5), ("PREFETCH_STEP", 77)], "last_target_step", 77),
        ([("SHARE_LEN", 5)], "share_count", 1),
        ([("RTBD_SHARE", 0)], "share_count", 1),
        ([("RTBD_SHARE", 0), ("RTBD_RELEASE", 0), ("RTBD_RELEASE", 0)], "release_refusals", 1),
        ([("UNLOAD_ID", 1)], "valid_entries", 0),
        ([("UNLOAD_ADDR", 0x7F000000), ("UNLOAD_LEN", 1)], "valid_entries", 0),
        ([("LOAD_ID", 5), ("LOAD_TOKEN_END", 31), ("LOAD_TIER", 1)], "valid_entries", 2),
        ([("LOOKUP_ID", 0x02030001), ("LOOKUP_POS", 5)], "hits_t1", 1),
        ([("LOOKUP_ID", 0x02030001), ("TOUCH_POS", 5)], "hits_t1", 1),
        ([("STEP_FAST", 9), ("CTRL", 6)], "step_count", 0),
        ([("CTRL", 1)], "valid_entries", 0),
    ],
)
def test_every_doorbell_can_be_rung(kv, writes, counter, value):
    kv(*LOAD)
    for name, operand in writes:
        kv("reg", "write", name, operand)
    assert kv("telemetry")[counter] == value


def test_reg_write_of_a_setting_is_judged(kv):
    assert kv("reg", "write", "WEIGHT_R", 256, code=1)["code"] == "ERR_RANGE"
    kv("reg", "write", "WEIGHT_R", 255)
    assert kv("reg", "read", "WEIGHT_R")["value"] == 255
    kv("reg", "write", "CTRL", 0)
    found = kv("reg", "read", "CTRL")
    assert (found["value"], found["fields"]["strict"]) == (0, 0)


def test_half_a_register_is_not_written(kv):
    kv("reg", "write", "0x20c", 0, code=2)
    assert "BOOST_LEN" in kv.err


def test_a_read_only_register_refuses_writes_with_a_bus_error(kv):
    kv("reg", "write", "T_MISSES", 0, code=3)
    assert "bus error on write" in kv.err and "T_MISSES is a register to read (R2)" in kv.err


def test_a_register_that_is_none_may_be_meant_as_another(kv):
    kv("reg", "read", "scrach", code=2)
    assert "no register is called scrach; did you mean SCRATCH?" in kv.err


def test_beyond_the_register_space_is_a_bus_error(kv):
    kv("reg", "read", "0x800000", code=3)
    kv("reg", "write", "0x800000", 1, code=3)


def test_reg_list_needs_no_device(tmp_path):
    found = Kvfpga(tmp_path, "--target", "sim")("reg", "list")
    assert {"name": "STEP_ADVANCE", "address": 0x100, "width": 64, "access": "rw"} in found["registers"]
    assert not any(tmp_path.iterdir())


def test_mem(kv, tmp_path):
    kv("mem", "write", "0x1000", "01 02 ff")
    found = kv("mem", "read", "0xfff", 5)
    assert found == {"command": "mem", "code": "OK", "address": 0xFFF, "size": 5, "data": "000102ff00"}
    (tmp_path / "raw").write_bytes(b"raw")
    kv("mem", "write", "0x2000", "--data", tmp_path / "raw")
    assert "72 61 77" in kv.text("mem", "read", "0x2000", 3)


# ---- the rest ------------------------------------------------------------------------------------------------------
def test_info(kv):
    found = kv("info")
    assert (found["target"], found["entries"], found["lanes"], found["block_bytes"]) == ("model", 256, 8, BLOCK)
    assert found["commands"] == 0
    kv("step", 1)
    assert kv("info")["commands"] == 1


def test_verify_and_sync_without_hardware_say_so(kv):
    assert (kv("verify")["code"], kv("verify")["checked"]) == ("OK", False)
    assert "no hardware" in kv.err
    assert kv("sync")["code"] == "OK"


def test_no_waveform_of_a_model(tmp_path):
    kv = Kvfpga(tmp_path, "--trace", str(tmp_path / "x.fst"))
    kv("step", 1, code=2)


def test_looking_does_not_rewrite_the_state(kv, tmp_path):
    kv(*LOAD)
    before = (tmp_path / "session" / "model" / "current").read_text()
    for words in (["dump"], ["telemetry"], ["info"], ["weights"], ["config"], ["mem", "read", 0, 1], ["verify"]):
        kv(*words)
    assert (tmp_path / "session" / "model" / "current").read_text() == before
    kv("lookup", 1, 2, 3, 4)
    assert (tmp_path / "session" / "model" / "current").read_text() != before


@pytest.mark.parametrize("path", [CHATS, AGENTS], ids=lambda path: path.stem)
def test_replay(kv, path):
    found = kv("replay", path, "--limit", 3, "--t1-capacity", 64)
    assert (found["command"], found["requests"], found["checked"]) == ("replay", 3, False)


def test_people_see_a_replay_beside_its_peers_first(kv):
    text = kv.text("replay", CHATS, "--limit", 3, "--t1-capacity", 64)
    assert text.index("plain LRU cache") < text.index("decode steps")


def test_demo_leaves_the_session_alone(kv):
    kv(*LOAD)
    found = kv("demo")
    assert found["command"] == "demo" and found["policies"]["rows"][-1]["policy"] == "optimal"
    assert "prompt" in kv.text("demo")
    assert kv("telemetry")["valid_entries"] == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(kv, shell):
    assert "_KVFPGA_COMPLETE" in kv.text("completion", shell)


def test_people_see_tables_and_sentences(kv):
    assert kv.text(*LOAD) == "load: OK · block 0 · not checked\n"
    assert "refused, ERR_EXISTS: a block with this key is already loaded" in kv.text(*LOAD, code=1)
    assert kv.text("lookup", 1, 2, 3, 4) == "lookup: OK · block 0 in T1 at 0x400000 · not checked\n"
    assert kv.text("lookup", 9, 2, 3, 4) == "lookup: OK · miss · not checked\n"
    text = kv.text("step", 1)
    assert "1 block · 1 evicted, 0 prefetched" in text
    assert "block 0: evict, T1 → T2 DRAM" in text
    shown = {
        "dump": "0x7f000000", "telemetry": "current_step", "weights": "w_r", "info": "block_bytes",
        "config": "t1_capacity", "reg list": "STEP_ADVANCE", "reg read CTRL": "strict: 1",
    }  # fmt: skip
    for words, expected in shown.items():
        assert expected in kv.text(*words.split())


def test_help_names_every_command_of_section_8():
    out = CliRunner().invoke(cli, ["--help"]).stdout
    names = (
        "load step hot evict prefetch share release unload lookup weights telemetry dump verify sync config reset info reg "
        "mem run replay demo completion"
    )
    for name in names.split():
        assert f"  {name} " in out
        assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


# ---- as processes --------------------------------------------------------------------------------------------------
def kvfpga(tmp_path, *words, **environment):
    command = [
        sys.executable,
        "-m",
        "kvfpga.cli.main",
        "--target",
        "model",
        "--entries",
        "256",
        "--session",
        str(tmp_path),
        *words,
    ]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def test_processes_share_one_device(tmp_path):
    assert kvfpga(tmp_path, *LOAD).returncode == 0
    assert kvfpga(tmp_path, *LOAD).returncode == 1
    found = kvfpga(tmp_path, "--json", "dump")
    assert len(json.loads(found.stdout)["entries"]) == 1
    assert found.stderr == ""


def test_a_mistake_of_our_own_is_not_taken_for_a_refusal(tmp_path):
    code = "import kvfpga.cli.main as m; m.App = None; m.main()"
    words = ["--target", "model", "--session", str(tmp_path), "step", "1"]
    found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (70, "")
    assert "Traceback" in found.stderr


def test_processes_at_once_are_serialised(tmp_path):
    command = [
        sys.executable,
        "-m",
        "kvfpga.cli.main",
        "--target",
        "model",
        "--entries",
        "256",
        "--session",
        str(tmp_path),
    ]
    running = [
        subprocess.Popen([*command, "lookup", "1", "1", "1", str(n)], stdout=subprocess.DEVNULL) for n in range(6)
    ]
    assert [process.wait(60) for process in running] == [0] * 6
    assert json.loads(kvfpga(tmp_path, "--json", "telemetry").stdout)["misses"] == 6


def test_a_step_imports_nothing_that_it_does_not_need(tmp_path):
    """`kvfpga step` is one process for every decode step (issue 2: below 0.5 s)."""
    code = (
        "import sys; from kvfpga.cli.main import cli; "
        f"words = ['--target', 'model', '--entries', '256', '--session', {str(tmp_path)!r}, 'step', '1']; "
        "cli(words, standalone_mode=False); "
        "print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    modules = set(result.stdout.split())
    assert "kvfpga.hepc_ref" in modules
    assert not modules & {
        "rich",
        "yaml",
        "csv",
        "filelock",
        "hypothesis",
        "pytest",
        "kvfpga.lab.replay",
        "kvfpga.lab.demo",
        "asyncio",
    }


def test_a_session_folder_that_cannot_be_used_exits_3(tmp_path):
    (tmp_path / "file").write_text("")
    assert Kvfpga(tmp_path / "file" / "below")("step", 1, code=3) == []


def test_a_digest_by_registers_is_judged(kv):
    kv("reg", "write", "DIGEST_FIRST", 5)
    assert kv("reg", "write", "DIGEST_END", 256)["code"] == "OK"
    assert kv("reg", "write", "DIGEST_END", 4, code=1)["code"] == "ERR_RANGE"
    assert kv("reg", "write", "DIGEST_END", 257, code=1)["code"] == "ERR_RANGE"
    assert "the range is 5 to 257; it begins at its end or before, within the entries" in kv.err
