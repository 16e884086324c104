"""Reading traces: every format and its unit, the merging of ids into runs, and one small bad input for every refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kvfpga.contract.errors import UsageError
from kvfpga.lab.trace_formats import FIRST_NAMED
from kvfpga.lab.traces import SAMPLE, Request, Trace, load_trace, parse_trace, read_trace
from tests.helpers.places import DATA, HOST
from tests.helpers.traces import AGENTS, CHATS, ids, rows

GOOD = {"timestamp": 5, "input_length": 10, "output_length": 3, "hash_ids": [4, 5, 9]}


def parse(*rows, limit=None, unit=None) -> list[Request]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return list(parse_trace(lines, "t.jsonl", limit, unit))


def load(tmp_path, *rows, unit=None) -> Trace:
    path = tmp_path / "t.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return load_trace(path, unit=unit)


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


def test_large_and_hexadecimal_ids_are_numbered():
    """Dynamo and AIPerf name blocks by hashes."""
    assert parse(row(hash_ids=[FIRST_NAMED - 1]))[0].runs == ((FIRST_NAMED - 1, 1),)
    large = [(1 << 64) - 1, FIRST_NAMED, 7, (1 << 64) - 1]
    assert parse(row(hash_ids=large))[0].blocks.tolist() == [FIRST_NAMED, FIRST_NAMED + 1, 7, FIRST_NAMED]
    one, other, again = parse(row(hash_ids=["9F3c", "0x" + "ab" * 32]), row(hash_ids=["ab" * 32]), row(hash_ids=["00009f3C"]))
    assert one.blocks.tolist() == [0x9F3C, FIRST_NAMED]
    assert other.blocks.tolist() == [FIRST_NAMED] and again.blocks.tolist() == [0x9F3C]


# ---- formats and their units -------------------------------------------------------------------------------------------

CHAT = {"chat_id": 1, "parent_chat_id": -1, "type": "text", "turn": 1}
TALK = {"id": "t1", "block_size": 64, "requests": [
    {"t": 0.0, "type": "s", "in": 330, "out": 20, "hash_ids": [1, 2]},
    {"t": 10.0, "type": "subagent", "requests": [{"t": 0.5, "type": "n", "in": 64, "out": 3, "hash_ids": [9]}]},
    {"t": 15.5, "type": "n", "in": 460, "out": 12, "hash_ids": [1, 2, 3]},
]}  # fmt: skip


def times(trace: Trace) -> list[float]:
    return [request.timestamp_ms for request in trace.requests]


def test_mooncake_in_whole_milliseconds(tmp_path):
    trace = load(tmp_path, GOOD, row(timestamp=3000))
    assert (trace.format, trace.unit, times(trace)) == ("mooncake", "ms", [5, 3000])
    assert str(trace) == "Mooncake trace: 2 requests, timestamps in milliseconds"


def test_other_names_of_fields():
    renamed = {"created_time": 5, "input_tokens": 10, "output_tokens": 3, "hash_ids": [4, 5, 9]}
    assert parse(renamed) == parse(GOOD)


def test_qwen_bailian_in_seconds(tmp_path):
    trace = load(tmp_path, CHAT | row(timestamp=0), CHAT | row(timestamp=61.114))
    assert (trace.format, trace.unit, trace.block_tokens, times(trace)) == ("qwen-bailian", "s", 16, [0, 61114])
    assert "seconds, 16 tokens a block" in str(trace)


def test_qwen_bailian_turned_into_milliseconds(tmp_path):
    trace = load(tmp_path, CHAT | row(timestamp=2836), CHAT | row(timestamp=4886), CHAT | row(timestamp=7722))
    assert (trace.unit, times(trace)) == ("ms", [2836, 4886, 7722])


@pytest.mark.parametrize(
    "fields, stamps", [({}, [0, 0.2, 0.4]), ({}, [0.0, 1.0]), ({}, [5, 61.5]), (CHAT, [2, 5, 8]), (CHAT, [7])]
)
def test_a_unit_that_cannot_be_known_is_asked_for(fields, stamps):
    """GuideLLM writes Mooncake's fields in seconds, Dynamo in milliseconds with decimals."""
    lines = [fields | row(timestamp=stamp) for stamp in stamps]
    with pytest.raises(UsageError, match=f"t.jsonl: timestamps from {stamps[0]:g} to .* seconds or milliseconds") as caught:
        parse(*lines)
    assert "--time-unit s" in caught.value.remedy and "--time-unit ms" in caught.value.remedy
    for unit, factor in (("s", 1000), ("ms", 1)):
        assert [request.timestamp_ms for request in parse(*lines, unit=unit)] == [stamp * factor for stamp in stamps]


@pytest.mark.parametrize("unit, factor", [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("kind", [int, float])
def test_times_since_1970_say_their_unit(tmp_path, unit, factor, kind):
    start = 1_789_095_808
    trace = load(tmp_path, *(row(timestamp=kind((start + more) * factor)) for more in (0, 1, 60)))
    assert (trace.unit, trace.absolute, times(trace)) == (unit, True, pytest.approx([0, 1000, 60_000]))
    assert "since 1970" in str(trace)


def test_a_unit_that_is_none():
    with pytest.raises(UsageError, match="a time unit of hours"):
        parse(GOOD, unit="hours")


@pytest.mark.parametrize("sizes, tokens", [
    ((64, 64), 64), ((64, 32, 64), None), ((64, 32, 16), None), ((None, 64), None), ((True,), None), ((-5,), None),
])  # fmt: skip
def test_conversations_have_blocks_of_one_size_or_of_none_that_is_known(tmp_path, sizes, tokens):
    assert load(tmp_path, *(TALK | {"block_size": size} for size in sizes)).block_tokens == tokens


@pytest.mark.parametrize("indent", [None, 2], ids=["one line", "many lines"])
def test_kv_cache_tester(tmp_path, indent):
    trace = load(tmp_path, json.dumps(TALK, indent=indent))
    assert (trace.format, trace.unit, trace.block_tokens) == ("kv-cache-tester", "s", 64)
    assert trace.requests == [
        Request(0, 330, 20, ((1, 2),)), Request(10_500, 64, 3, ((9, 1),)), Request(15_500, 460, 12, ((1, 3),))
    ]  # fmt: skip


def test_agents_whose_times_count_from_the_conversations_start(tmp_path):
    talk = json.loads(json.dumps(TALK))
    talk["requests"][1]["requests"][0]["t"] = 11.0
    assert times(load(tmp_path, talk)) == [0, 11_000, 15_500]


def test_conversations_side_by_side(tmp_path):
    """Block ids are each conversation's own, unless it says otherwise."""
    own = load(tmp_path, TALK, TALK)
    assert times(own) == [0, 0, 10_500, 10_500, 15_500, 15_500]
    one, other = own.requests[-2:]
    assert one.blocks.tolist() == [1, 2, 3] and not set(one.blocks) & set(other.blocks) and len(set(other.blocks.tolist())) == 3
    same = load(tmp_path, TALK, TALK | {"hash_id_scope": "global"})
    assert same.requests[-1].blocks.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "broken, message",
    [
        ({"t": -1}, "request 1: t is -1"),
        ({"in": None}, "request 1: in is missing"),
        ({"hash_ids": "x"}, "request 1: hash_ids is not a list"),
        ({"type": "subagent"}, "request 1: a subagent without a list of requests"),
        ({"type": "subagent", "requests": [5]}, "request 1, request 1: not a JSON object"),
    ],
)
def test_a_broken_conversation(broken, message):
    with pytest.raises(UsageError, match=f"t.jsonl:1: {message}") as caught:
        parse({"requests": [TALK["requests"][0] | broken]})
    assert caught.value.remedy
    with pytest.raises(UsageError, match="t.jsonl:2: a conversation without"):
        parse(TALK, GOOD)


@pytest.mark.parametrize(
    "first, message, remedy",
    [
        ("version https://git-lfs.github.com/spec/v1", "a Git LFS pointer", "git lfs pull"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens", "CSV .columns TIMESTAMP,Context", "name no blocks"),
        ("[", "a JSON array", "jq -c"),
        (json.dumps([GOOD]), "a JSON array", "jq -c"),
        ("<!DOCTYPE html>", "a web page", "raw file"),
        (row(hash_ids=None), "neither hash_ids nor hash_ranges", "GuideLLM"),
        (row(timestamp=None, session_id="a", delay=300), "with a delay in place of a timestamp .AIPerf", "a timestamp"),
        ({"timestamp": 5, "text_input": "hello"}, "an AIPerf trace of texts", "hash_ids"),
        ({"trace_id": "a", "spans": []}, "OpenTelemetry", "hash_ids"),
        ({"id": "a", "conversations": []}, "ShareGPT", "no KV blocks"),
        ({"schema": "dynamo.agentic_mooncake", "version": 2}, "Dynamo's agentic", "timestamps"),
        ({"a": 1, "b": 2}, "unknown format .fields: a, b", "--help"),
        ("[" * 100_000, "a JSON array", "jq"),
        ('{"requests":' * 100_000, "nested too deep", "one complete JSON object"),
    ],
)
def test_what_is_no_trace_is_refused_by_its_name(first, message, remedy):
    with pytest.raises(UsageError, match=f"t.jsonl:1: .*{message}") as caught:
        parse(first, GOOD)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "bad, message",
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "nested too deep"),
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
        (row(hash_ids=[1 << 64]), "is out of range"),
        (row(hash_ids=["xyz"]), "nor of hexadecimal ones"),
        (row(hash_ids=None, hash_ranges=[[0]]), "hash_ranges is not a list"),
        (row(hash_ids=None, hash_ranges=[[0, 0]]), "hash_ranges is not a list"),
        (row(hash_ids=None, hash_ranges=[[FIRST_NAMED - 1, 2]]), "is out of range"),
        (row(hash_ids=None, hash_ranges=[[0, 10**12]]), "more than 1,048,576 blocks"),
        (json.dumps(GOOD)[:-1] + ', "timestamp": 9}', "'timestamp' stands twice in one object"),
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


@pytest.mark.parametrize("head, kind", [(b"\x1f\x8b", ", but gzip"), (b"PAR1", ", but Parquet"), (b"", "")])
def test_a_binary_file_is_refused(tmp_path, head, kind):
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(head + b"\xff\xfe")
    with pytest.raises(UsageError, match=f"(?m)t.jsonl.gz is not text{kind}$"):
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
    for script in (DATA / "make_traces.py", HOST / "lab" / "sample" / "make.py"):
        done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_trace_that_comes_with_kvfpga():
    """Chats that share prompts and come back, agents in bursts; small enough for every device."""
    requests = load_trace(SAMPLE).requests
    sessions = [line["session"] for line in rows(SAMPLE)]
    assert 100 < len(requests) < 400 and len({name for name in sessions if name.startswith("chat")}) > 10
    starts = [request.runs[0][0] for request in requests]
    assert len(set(starts)) == 4 and max(len(request.blocks) for request in requests) < 100
    gaps = [b["timestamp"] - a["timestamp"] for a, b in zip(rows(SAMPLE), rows(SAMPLE)[1:]) if a["session"] == b["session"]]
    assert sum(gap < 2000 for gap in gaps) > 20


def test_what_is_no_file_is_refused_at_once(tmp_path):
    """A pipe would be waited for, and zeros without end fill the memory."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(UsageError, match=f"cannot read the trace {name}: it is a folder, a pipe or a device"):
            load_trace(tmp_path / name)


def test_a_line_without_end_is_refused(tmp_path):
    (tmp_path / "huge.jsonl").touch()
    os.truncate(tmp_path / "huge.jsonl", 1 << 40)
    with pytest.raises(UsageError, match="a line of more than"):
        load_trace(tmp_path / "huge.jsonl")
