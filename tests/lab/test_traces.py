"""Reading traces: both formats, the merging of ids into runs, and one small bad input for every refusal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from kvfpga.contract.errors import UsageError
from kvfpga.lab.traces import MAX_BLOCK_ID, Request, parse_trace, read_trace
from tests.helpers.places import DATA
from tests.helpers.traces import AGENTS, CHATS, ids, rows

GOOD = {"timestamp": 5, "input_length": 10, "output_length": 3, "hash_ids": [4, 5, 9]}


def parse(*rows, limit=None) -> list[Request]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return list(parse_trace(lines, "t.jsonl", limit))


def row(**changes) -> dict:
    """GOOD with some fields replaced; None takes a field away."""
    return {key: value for key, value in (GOOD | changes).items() if value is not None}


def test_ids_become_runs():
    assert parse(GOOD) == [Request(5.0, 10, 3, ((4, 2), (9, 1)))]


def test_ranges_say_the_same():
    assert parse(row(hash_ids=None, hash_ranges=[[4, 2], [9, 1]])) == parse(GOOD)


def test_adjacent_ranges_are_merged():
    assert parse(row(hash_ids=None, hash_ranges=[[0, 294], [294, 2]]))[0].runs == ((0, 296),)


def test_order_and_repetition_are_kept():
    ids = [9, 4, 5, 4, 4, 0, 1]
    assert parse(row(hash_ids=ids))[0].blocks.tolist() == ids


def test_request_without_blocks():
    assert parse(row(hash_ids=[]))[0].blocks.tolist() == []


def test_other_fields_blank_lines_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("\ufeff" + json.dumps(row(session="s", turn=1)) + "\n\n" + json.dumps(GOOD) + "\n", "utf-8")
    assert list(read_trace(path)) == parse(GOOD, GOOD)


def test_nothing_behind_the_limit_is_looked_at():
    assert len(parse(GOOD, GOOD, "rubbish", limit=2)) == 2


def test_largest_block_id():
    assert parse(row(hash_ids=[MAX_BLOCK_ID]))[0].runs == ((MAX_BLOCK_ID, 1),)


@pytest.mark.parametrize(
    "bad, message",
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        (row(timestamp=None), "timestamp is missing"),
        (row(timestamp=-1), "timestamp is -1"),
        (row(timestamp="5"), 'timestamp is "5"'),
        (row(timestamp=True), "timestamp is true"),
        ('{"timestamp": NaN}', "timestamp is NaN"),
        ('{"timestamp": 1e999}', "timestamp is Infinity"),
        (row(timestamp=10**400), "timestamp is 1000"),
        (row(input_length=-1), "input_length is -1"),
        (row(output_length=None), "output_length is missing"),
        (row(output_length=1.5), "output_length is 1.5"),
        (row(hash_ids=None), "neither hash_ids nor hash_ranges"),
        (row(hash_ranges=[[0, 1]]), "both hash_ids and hash_ranges"),
        (row(hash_ids=5), "hash_ids is not a list"),
        (row(hash_ids=[1, "2"]), "hash_ids is not a list of whole numbers"),
        (row(hash_ids=[True]), "hash_ids is not a list of whole numbers"),
        (row(hash_ids=[-1]), "block id -1 is out of range"),
        (row(hash_ids=[MAX_BLOCK_ID + 1]), "is out of range"),
        (row(hash_ids=None, hash_ranges=[[0]]), "hash_ranges is not a list"),
        (row(hash_ids=None, hash_ranges=[[0, 0]]), "hash_ranges is not a list"),
        (row(hash_ids=None, hash_ranges=[[MAX_BLOCK_ID, 2]]), "is out of range"),
        (row(hash_ids=None, hash_ranges=[[0, 10**12]]), "more than 1,048,576 blocks"),
        (row(timestamp=4), "timestamp 4 is before the previous request's 5"),
    ],
)
def test_a_bad_line_is_refused_with_its_place_and_a_remedy(bad, message):
    with pytest.raises(UsageError) as caught:
        parse(GOOD, "", bad)
    assert caught.value.message.startswith("t.jsonl:3: ")
    assert message in caught.value.message
    assert caught.value.remedy


def test_an_empty_trace_is_refused():
    with pytest.raises(UsageError, match="t.jsonl holds no requests"):
        parse("", "  ")


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(UsageError, match="limit of 0"):
        parse(GOOD, limit=0)


def test_a_file_that_cannot_be_read_is_named_without_its_folder(tmp_path):
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(UsageError, match="cannot read the trace") as caught:
            list(read_trace(path))
        assert path.name in caught.value.message
        assert str(tmp_path.parent) not in caught.value.message


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(b"\x1f\x8b\xff\xfe")
    with pytest.raises(UsageError, match="t.jsonl.gz is not text"):
        list(read_trace(path))


@pytest.mark.parametrize("path", [CHATS, AGENTS], ids=lambda path: path.stem)
def test_a_whole_trace_line_by_line(path):
    lines = rows(path)
    requests = list(read_trace(path))
    assert [(r.timestamp_ms, r.input_length, r.output_length) for r in requests] == [
        (line["timestamp"], line["input_length"], line["output_length"]) for line in lines
    ]
    assert [r.blocks.tolist() for r in requests] == [ids(line) for line in lines]
    assert len(requests) > 50 and any(len(r.runs) > 1 for r in requests)


def test_the_traces_are_what_their_script_makes():
    done = subprocess.run([sys.executable, DATA / "make_traces.py", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
