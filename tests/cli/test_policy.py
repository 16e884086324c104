"""`policy`, `class` and the hints of `load` and `lookup` on the command line (contract R49), on the model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.helpers.command_line import BLOCK, LOAD, Kvfpga

VA = LOAD[LOAD.index("--va") + 1]
KEY = [LOAD[LOAD.index(name) + 1] for name in ("--request", "--layer", "--head")]
POSITION = LOAD[LOAD.index("--tokens") + 1].split(":")[0]


@pytest.fixture
def kv(tmp_path):
    kv = Kvfpga(tmp_path / "session", "--target", "model")
    kv("reset", "--raw")
    return kv


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "codes.npy"
    np.save(path, np.repeat(np.arange(256, dtype=np.uint8)[:, None], 64, axis=1))
    return path


def block(kv) -> dict:
    (entry,) = kv("dump")["entries"]
    return entry


def in_force(kv) -> dict:
    return {name: value for name, value in kv("policy").items() if name not in ("command", "code")}


# ---- policy ----------------------------------------------------------------------------------------------------------
def test_r49_policy_shows_what_is_in_force(kv):
    linear = {"policy": "linear", "fill_age": 1, "bank": 0, "classes": 256}
    assert kv("policy") == {"command": "policy", "code": "OK"} | linear
    found = kv("policy", "ranked", "--fill-age", 7)
    assert found["code"] == "OK" and found["command"] == "policy"
    assert in_force(kv) == linear | {"policy": "ranked", "fill_age": 7}
    assert kv("policy", "linear")["policy"] == "linear"
    assert in_force(kv) == linear | {"fill_age": 7}


def test_r49_a_table_is_put_in_force(kv, table):
    assert kv("policy", "ranked", "--table", table)["bank"] == 1
    kv(*LOAD, "--class", 200, "--order", 3)
    assert block(kv)["priority"] == 256 * 200 + 3
    kv("policy", "ranked")  # keeps it
    kv("lookup", *KEY, POSITION, "--touch")
    assert block(kv)["priority"] == 256 * 200 + 3


def test_r49_age_is_255_less_4_for_each_bucket_of_every_class(kv):
    kv("policy", "ranked", "--table", "age")
    kv(*LOAD, "--class", 255)
    for step, priority in ((0, 255), (1, 251), (2, 247), (131071, 3), (200000, 3)):
        kv("step", step)
        assert block(kv)["priority"] == 256 * priority
    for row in (0, 255):  # of the bank that was not swapped in
        kv("policy", "table", "age")
        words = [kv("reg", "read", 0x4000 + 64 * row + 4 * word)["value"] for word in range(16)]
        assert b"".join(word.to_bytes(4, "little") for word in words) == bytes(range(255, 0, -4))


def test_r49_a_table_alone_waits_for_its_commit(kv, table):
    kv("policy", "ranked")
    assert kv("policy", "table", table)["bank"] == 0
    kv(*LOAD, "--class", 9)
    assert block(kv)["priority"] == 0
    assert kv("reg", "write", "PTABLE_COMMIT", 1)["code"] == "OK"
    kv("lookup", *KEY, POSITION, "--touch")
    assert block(kv)["priority"] == 9 * 256
    assert in_force(kv)["bank"] == 1


def test_r49_a_refused_fill_age_leaves_policy_and_table(kv, table):
    found = kv("policy", "ranked", "--table", table, "--fill-age", 256, code=1)
    assert found["code"] == "ERR_RANGE"
    assert in_force(kv) == {"policy": "linear", "fill_age": 1, "bank": 0, "classes": 256}
    assert kv("reg", "read", 0x4000 + 64 * 255)["value"] == 0


@pytest.mark.parametrize("array, said", [
    (np.zeros((256, 64), np.float32), "float32, a table uint8"), (np.zeros((256, 64), np.int8), "int8, a table uint8"),
    (np.zeros((64, 256), np.uint8), r"shape (64, 256); this device has 256 classes and 64 age buckets"),
    (np.zeros(16384, np.uint8), "shape (16384,)"), (np.zeros((16, 64), np.uint8), "shape (16, 64)"),
    (np.zeros((256, 64, 1), np.uint8), "shape (256, 64, 1)"), (np.zeros((2000, 1000), np.uint8), "more than the 1,048,576"),
])  # fmt: skip
@pytest.mark.parametrize("words", [["ranked", "--table"], ["table"]])
def test_r49_a_file_that_is_no_table_is_refused(kv, tmp_path, words, array, said):
    np.save(tmp_path / "wrong.npy", array)
    kv("policy", *words, tmp_path / "wrong.npy", code=2)
    assert said in kv.err and "wrong.npy" in kv.err
    assert in_force(kv)["policy"] == "linear"


def test_r49_a_file_that_is_not_there_or_no_array(kv, tmp_path):
    kv("policy", "ranked", "--table", tmp_path / "none.npy", code=2)
    assert "there is no table" in kv.err and "none.npy" in kv.err and "`age`" in kv.err
    (tmp_path / "text.npy").write_text("hello")
    kv("policy", "ranked", "--table", tmp_path / "text.npy", code=2)
    assert "no array in numpy's format" in kv.err


def test_r49_a_fortran_array_is_the_table_that_it_shows(kv, tmp_path):
    codes = np.asfortranarray(np.random.default_rng(1).integers(0, 256, (256, 64)).astype(np.uint8))
    np.save(tmp_path / "codes.npy", codes)
    kv("policy", "ranked", "--table", tmp_path / "codes.npy")
    kv(*LOAD, "--class", 77)
    assert block(kv)["priority"] == 256 * int(codes[77, 0])


def test_r49_the_session_keeps_tables_and_policy(kv, table):
    kv("policy", "ranked", "--table", table, "--fill-age", 9)
    kv("policy", "table", "age")
    assert in_force(kv) == {"policy": "ranked", "fill_age": 9, "bank": 1, "classes": 256}
    assert kv("reg", "read", 0x4000)["value"] == 0xF3F7FBFF
    kv("reg", "write", "PTABLE_COMMIT", 1)
    assert kv("reg", "read", 0x4000 + 64)["value"] == 0x01010101
    kv("reset")
    assert in_force(kv) == {"policy": "linear", "fill_age": 1, "bank": 0, "classes": 256}
    assert kv("reg", "read", 0x4000 + 64)["value"] == 0


# ---- class and hints ---------------------------------------------------------------------------------------------------
def test_r49_class_of_a_range(kv):
    kv(*LOAD)
    found = kv("class", VA, BLOCK, "--class", 5, "--base", 3, "--shift", 2)
    assert (found["command"], found["code"], found["matched"]) == ("class", "OK", 1)
    assert (block(kv)["class"], block(kv)["order"]) == (5, 252)
    kv("class", VA, 1, "--class", 6)
    assert (block(kv)["class"], block(kv)["order"]) == (6, 255)


@pytest.mark.parametrize("words", [
    ["--class", 256], ["--class", 1, "--base", 256], ["--class", 1, "--shift", 16], ["--class", (1 << 64) - 1],
    ["--class", 1, "--base", (1 << 64) - 1], ["--class", 1, "--shift", (1 << 64) - 1],
])  # fmt: skip
def test_r42_class_lets_the_device_refuse(kv, words):
    kv(*LOAD, "--class", 9)
    assert kv("class", VA, 1, *words, code=1)["code"] == "ERR_RANGE"
    assert block(kv)["class"] == 9


@pytest.mark.parametrize("words, shown", [
    ([], (0, 0)), (["--class", 3], (3, 0)), (["--order", 4], (0, 4)), (["--class", 3, "--order", 4], (3, 4)),
    (["--class", 0], (0, 0)), (["--hint", 0x10403], (3, 4)), (["--hint", 0x0403], (0, 0)),
])  # fmt: skip
def test_r41_load_with_a_hint(kv, words, shown):
    kv(*LOAD, *words)
    assert (block(kv)["class"], block(kv)["order"]) == shown


@pytest.mark.parametrize("words, shown", [
    ([], (7, 8)), (["--class", 3], (3, 0)), (["--order", 4], (0, 4)), (["--class", 3, "--order", 4], (3, 4)),
    (["--class", 0], (0, 0)), (["--hint", 0x0403], (7, 8)),
])  # fmt: skip
def test_r41_touch_with_a_hint(kv, words, shown):
    kv(*LOAD, "--class", 7, "--order", 8)
    assert kv("lookup", *KEY, POSITION, "--touch", *words)["hit"]
    assert (block(kv)["class"], block(kv)["order"]) == shown


@pytest.mark.parametrize("words", [
    [*LOAD, "--class", 256], [*LOAD, "--order", 256], ["lookup", *KEY, POSITION, "--touch", "--class", 256],
    ["lookup", *KEY, POSITION, "--class", 1], ["lookup", *KEY, POSITION, "--order", 1], [*LOAD, "--hint", 1, "--class", 1],
    ["lookup", *KEY, POSITION, "--hint", 0], ["class", VA, 1], ["class", VA, "--class", 1], ["policy", "best"],
    ["policy", "table"], ["policy", "ranked", "--fill-age", "old"], ["policy", "ranked", "--table"],
])  # fmt: skip
def test_r49_what_cannot_be_meant_is_a_usage_error(kv, words):
    kv(*words, code=2)
    assert kv("telemetry")["misses"] == 0 and kv("dump")["entries"] == []


def test_r41_a_hint_that_is_refused_can_be_said(kv):
    assert kv(*LOAD, "--hint", 0x20000, code=1)["code"] == "ERR_RANGE"
    assert kv("lookup", *KEY, POSITION, "--touch", "--hint", (1 << 64) - 1, code=1)["code"] == "ERR_RANGE"
    assert kv("telemetry")["misses"] == 0


def test_r41_registers_give_the_hint_that_they_hold(kv):
    kv(*LOAD)
    kv("reg", "write", "TOUCH_HINT", 0x10905)
    kv("reg", "write", "LOOKUP_ID", kv("reg", "read", "LOAD_ID")["value"])
    assert kv("reg", "write", "TOUCH_POS", POSITION)["code"] == "OK"
    assert (block(kv)["class"], block(kv)["order"]) == (5, 9)
    assert kv("reg", "read", "TOUCH_HINT")["fields"] == {"class": 5, "order": 9, "set": 1}
    kv("lookup", *KEY, POSITION, "--touch")
    assert kv("reg", "read", "TOUCH_HINT")["value"] == 0


# ---- files -------------------------------------------------------------------------------------------------------------
ROWS = [
    {"request": 1, "layer": 0, "head": 0, "tokens": "0:31", "va": 0x10000, "class": 3, "order": 200},
    {"request": 1, "layer": 0, "head": 0, "tokens": "32:63", "va": 0x14000, "order": 199},
    {"request": 1, "layer": 0, "head": 0, "tokens": "64:95", "va": 0x18000},
]
HINTS = [(3, 200), (0, 199), (0, 0)]


def yaml(rows: list[dict]) -> str:
    return "".join("- " + "\n  ".join(f"{name}: {value}" for name, value in row.items()) + "\n" for row in rows)


def csv(rows: list[dict]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(str(row.get(name, "")) for name in rows[0]) for row in rows)]) + "\n"


@pytest.mark.parametrize("suffix, text", [
    ("yaml", yaml), ("csv", csv), ("json", json.dumps), ("jsonl", lambda rows: "\n".join(map(json.dumps, rows))),
])  # fmt: skip
def test_r41_block_files_may_have_class_and_order(kv, tmp_path, suffix, text):
    (tmp_path / f"blocks.{suffix}").write_text(text(ROWS))
    assert kv("load", tmp_path / f"blocks.{suffix}")["matched"] == 3
    assert [(e["class"], e["order"]) for e in kv("dump")["entries"]] == HINTS


@pytest.mark.parametrize("name", ["class", "order"])
def test_r41_a_block_file_with_a_wide_one_loads_nothing(kv, tmp_path, name):
    (tmp_path / "blocks.jsonl").write_text("\n".join(map(json.dumps, [*ROWS, ROWS[0] | {name: 256}])))
    kv("load", tmp_path / "blocks.jsonl", code=2)
    assert f"row 4: {name} 256 does not fit into 8 bits" in kv.err
    assert kv("dump")["entries"] == []


# ---- for people --------------------------------------------------------------------------------------------------------
def test_r49_people_see_it_too(kv):
    kv("policy", "ranked", "--table", "age")
    kv(*LOAD, "--class", 201, "--order", 44)
    assert "ranked" in kv.text("policy")
    shown = kv.text("dump")
    assert all(word in shown for word in ("class", "order", "201", "44"))
    assert "written into bank 0" in kv.text("policy", "table", "age")
