"""`query` and `score` on the command line (contract R37), on the model."""

from __future__ import annotations

import numpy as np
import pytest

from kvfpga.transport.virtual.uart import SMALL
from tests.helpers import section8
from tests.helpers.command_line import BLOCK, Kvfpga
from tests.helpers.keys import plain_scores, random_block, random_query

VA = 0x7F000000
KEY = (7, 1, 2, 40)


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "query.npy", random_query(1))
    np.save(tmp_path / "block.npy", random_block(1))
    return tmp_path


@pytest.fixture
def kv(files):
    kv = Kvfpga(files / "session")
    kv("reset", "--raw")
    kv("load", "--request", 7, "--layer", 1, "--head", 2, "--tokens", "32:60", "--va", VA, "--data", files / "block.npy")
    kv("query", "write", 3, files / "query.npy")
    return kv


def floats(bits):
    return np.array(bits, np.uint32).view(np.float32)


# ---- score -----------------------------------------------------------------------------------------------------------
def test_r37_score_has_these_keys_in_this_order(kv):
    found = kv("score", *KEY, "--slot", 3)
    section8.check("score", found)
    assert list(found) == [
        "command", "code", "matched", "index", "cycles", "triggers", "checked", "score_bits", "exp_bits", "max_bits", "sum_bits",
        "tier", "phys_addr",
    ]  # fmt: skip
    assert {name: found[name] for name in ("command", "code", "matched", "index", "tier", "phys_addr")} == {
        "command": "score", "code": "OK", "matched": 1, "index": 0, "tier": 1, "phys_addr": 256 * BLOCK,
    }  # fmt: skip
    assert found["exp_bits"] is found["max_bits"] is found["sum_bits"] is None
    scores = floats(found["score_bits"])
    assert np.allclose(scores[:29], plain_scores(random_query(1), random_block(1))[:29], rtol=1e-6)
    assert found["score_bits"][29:] == [0xFF800000] * 3


def test_r37_exp_adds_numerators_their_maximum_and_sum(kv):
    found = kv("score", *KEY, "--slot", 3, "--exp")
    section8.check("score", found)
    scores, exps = floats(found["score_bits"])[:29], floats(found["exp_bits"])
    assert floats([found["max_bits"]])[0] == scores.max() and not exps[29:].any()
    assert np.allclose(exps[:29], np.exp(scores - scores.max()), rtol=1e-3)
    assert np.isclose(floats([found["sum_bits"]])[0], exps.sum())


def test_r37_a_block_in_tier_2_is_called_back_and_scored_with_wait(kv):
    kv("evict", VA, 1)
    found = kv("score", *KEY, "--slot", 3, code=1)
    section8.check("score", found)
    assert (found["code"], found["index"], found["tier"], found["score_bits"]) == ("ERR_NOT_RESIDENT", 0, 2, None)
    assert found["triggers"] == [{"index": 0, "channel": "prefetch", "from": 2, "to": 1}]
    assert kv("score", *KEY, "--slot", 3)["code"] == "OK"
    kv("evict", VA, 1)
    found = kv("score", *KEY, "--slot", 3, "--wait")
    assert (found["code"], found["tier"], len(found["score_bits"])) == ("OK", 1, 32)
    assert found["triggers"] == [{"index": 0, "channel": "prefetch", "from": 2, "to": 1}]
    assert kv("telemetry")["hits_t2"] == 2, "the block was touched once there, each time"


def test_r30_a_score_is_an_access_and_may_carry_a_hint(kv):
    kv("score", *KEY, "--slot", 3, "--class", 9, "--order", 8)
    (entry,) = kv("dump")["entries"]
    assert (entry["F"], entry["class"], entry["order"]) == (2, 9, 8)
    kv("score", *KEY, "--slot", 3, "--hint", "0x10405")
    kv("score", *KEY, "--slot", 3)
    (entry,) = kv("dump")["entries"]
    assert (entry["F"], entry["class"], entry["order"]) == (4, 5, 4)
    assert kv("telemetry")["hits_t1"] == 3


@pytest.mark.parametrize("words, code, why", [
    ([*KEY, "--slot", 64], "ERR_RANGE", "slot is 64; the buffer has 64 slots, 0 to 63 (R30)"),
    ([*KEY, "--slot", 1 << 40], "ERR_RANGE", "64 slots, 0 to 63 (R30)"),
    ([*KEY, "--slot", 0, "--flags", 2], "ERR_RANGE", "flags is 2; bit 0 asks for numerators, 0 to 1 (R32)"),
    ([*KEY, "--slot", 0, "--hint", 1 << 17], "ERR_RANGE", "hint is 0x20000; class, order and set are 17 bits"),
    ([7, 1, 2, 64, "--slot", 0], "ERR_NOT_FOUND", "no block holds request 7, layer 1, head 2, token 64;"),
])  # fmt: skip
def test_r30_a_refusal_names_value_rule_and_remedy(kv, words, code, why):
    found = kv("score", *words, code=1)
    section8.check("score", found)
    assert (found["code"], found["index"], found["tier"], found["score_bits"]) == (code, None, None, None)
    assert why in kv.err
    shown = kv.text("score", *words, code=1)
    assert f"score: refused, {code}" in shown and why in shown


def test_a_block_outside_tier_1_says_why_it_is_not_scored(kv):
    kv("evict", VA, 1)
    said = kv.text("score", *KEY, "--slot", 3, code=1)
    assert "it was in T2 DRAM, and the access has brought it back by now: score it again, or use --wait" in said
    kv("evict", VA, 1)
    kv("config", "--t1-capacity", 0)
    said = kv.text("score", *KEY, "--slot", 3, "--wait", code=1)
    assert "it stays in T2 DRAM, for T1 is full: make room there" in said
    kv("load", "--request", 8, "--layer", 0, "--head", 0, "--tokens", "0:31", "--va", 0, "--tier", 0)
    said = kv.text("score", 8, 0, 0, 0, "--slot", 3, code=1)
    assert "from where the device moves nothing: load it with --tier 1" in said


@pytest.mark.parametrize("words, why", [
    ([*KEY], "--slot"), ([7, 1, 256, 40, "--slot", 0], "8 bits"), ([7, 1, 2, 1 << 32, "--slot", 0], "32 bits"),
    ([*KEY, "--slot", -1], "-1"), ([*KEY, "--slot", 0, "--exp", "--flags", 1], "not both"),
    ([*KEY, "--slot", 0, "--class", 1, "--hint", 1], "not both"), ([*KEY, "--slot", "three"], "three"),
])  # fmt: skip
def test_what_cannot_be_meant_is_a_usage_error(kv, words, why):
    kv("score", *words, code=2)
    assert why in kv.err


def test_people_see_a_row_for_each_token(kv):
    text = kv.text("score", *KEY, "--slot", 3, "--exp")
    rows = [line.replace("│", " ").split() for line in text.splitlines() if line.startswith("│")]
    scores = plain_scores(random_query(1), random_block(1))[:29]
    assert [int(row[0]) for row in rows] == list(range(32, 61))
    assert np.allclose([float(row[1]) for row in rows], scores, rtol=1e-5)
    assert text.startswith("score: OK · block 0 in T1 at 0x400000") and f"max {np.float32(scores.max()):.4f}"[:-2] in text
    assert "exp" not in kv.text("score", *KEY, "--slot", 3)


@pytest.mark.parametrize("words, parts", [
    (["score"], ["q.k / sqrt(HEAD_DIM)", "--wait", "score_bits", "ERR_NOT_RESIDENT", "kvfpga query write 0 query.npy"]),
    (["query"], ["slots 0 to 63", "a reset leaves it"]), (["query", "write"], ["float16[HEAD_DIM]", "numpy.save"]),
])  # fmt: skip
def test_the_help_is_for_people_who_have_not_read_the_code(kv, words, parts):
    text = " ".join(kv.text(*words, "--help").split())
    assert all(part in text for part in parts)


# ---- query -----------------------------------------------------------------------------------------------------------
def test_r37_a_query_is_written_and_read_and_outlives_reset(kv, files):
    assert kv("query", "write", 63, files / "query.npy") == {"command": "query", "code": "OK", "slot": 63, "values": 128}
    bits = random_query(1).view(np.uint16).tolist()
    kv("reset")
    assert kv("query", "read", 63) == {"command": "query", "code": "OK", "slot": 63, "query_bits": bits}
    assert set(kv("query", "read", 62)["query_bits"]) == {0}
    assert kv.text("query", "read", 63).startswith(f"slot 63: {random_query(1)[0]:g} {random_query(1)[1]:g} ")
    assert kv("telemetry")["query_bytes"] == 0
    assert kv.text("query", "write", 0, files / "query.npy") == "query of 128 values written into slot 0\n"
    assert kv("telemetry")["query_bytes"] == 256


@pytest.mark.parametrize("array, said", [
    (random_query(0).astype(np.float32), "holds float32, a query float16"), (random_query(0).view(np.uint16), "holds uint16"),
    (random_query(0)[:64], "has the shape (64,); a query of this device has 128 values"),
    (np.zeros((1, 128), np.float16), "has the shape (1, 128)"), (np.zeros((0,), np.float16), "has the shape (0,)"),
])  # fmt: skip
def test_r37_another_type_or_length_is_refused(kv, files, array, said):
    np.save(files / "wrong.npy", array)
    kv("query", "write", 3, files / "wrong.npy", code=2)
    assert f"wrong.npy {said}" in kv.err and ("astype" in kv.err or "save an array of the shape (128,)" in kv.err)
    assert kv("query", "read", 3)["query_bits"] == random_query(1).view(np.uint16).tolist()


def test_r37_a_query_of_the_other_byte_order_is_converted(kv, files):
    np.save(files / "swapped.npy", random_query(7).astype(">f2"))
    kv("query", "write", 5, files / "swapped.npy")
    assert kv("query", "read", 5)["query_bits"] == random_query(7).view(np.uint16).tolist()


@pytest.mark.parametrize("words", [["write", 64], ["read", 64]])
def test_r37_there_are_64_slots(kv, files, words):
    kv("query", *words, *([files / "query.npy"] if words[0] == "write" else []), code=2)
    assert "there is no query slot 64: the buffer has 64" in kv.err and "give 0 to 63" in kv.err


def test_a_file_that_is_no_array_is_refused(kv, files):
    (files / "text.npy").write_text("1 2 3")
    kv("query", "write", 3, files / "text.npy", code=2)
    assert "no array in numpy's format" in kv.err


# ---- scripts and small devices -----------------------------------------------------------------------------------------
def test_lines_of_a_script(kv, files):
    lines = f"query write 9 {files}/query.npy", "score 7 1 2 40 --slot 9 --exp # one", "score 7 1 2 99 --slot 9"
    (files / "s.kvfpga").write_text("\n".join(lines))
    found = kv("run", files / "s.kvfpga", code=1)
    assert [one["code"] for one in found] == ["OK", "OK", "ERR_NOT_FOUND"] and found[1]["max_bits"]


def test_r36_a_build_without_the_engine(files):
    board = files / "small.yaml"
    board.write_text(
        "target: uart:/dev/null\nbuild: {entries: 256, lanes: 1, data_bits: 64, block_tokens: 32, "
        f"head_dim: {SMALL.head_dim}, classes: 16}}\n"
    )
    kv = Kvfpga(files / "small")
    kv.options = ["--board", str(board), "--target", "model", "--session", str(files / "small")]
    kv("reset", "--raw")
    kv("load", "--request", 7, "--layer", 1, "--head", 2, "--tokens", "32:60", "--va", VA)
    assert kv("score", *KEY, "--slot", 0, code=1)["code"] == "ERR_UNSUPPORTED"
    said = kv.text("score", *KEY, "--slot", 0, code=1)
    assert "without the compute engine" in said and "use a build with NMCE" in said
    kv("query", "write", 0, files / "query.npy", code=2)
    assert "without the compute engine (NMCE), so it has no query buffer" in kv.err and "use a build with NMCE" in kv.err
    kv("query", "read", 0, code=2)
    assert kv("info")["nmce"] is False
