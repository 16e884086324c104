"""`kvfpga lab tune`: what is chosen, by what, and what judges it."""

from __future__ import annotations

import pytest

from kvfpga.lab.compiled import run_linear
from kvfpga.lab.sources import opened
from kvfpga.lab.tune import first_requests
from tests.helpers.command_line import Kvfpga
from tests.helpers.traces import rows, write_trace
from tests.lab.test_lab_run import REQUESTS

MORE = [(1000 * n, 3, [n % 3, *range(10 * (n % 7), 10 * (n % 7) + 5)]) for n in range(60)]


@pytest.fixture
def kvfpga(tmp_path):
    return Kvfpga(tmp_path / "session")


def test_the_second_half_judges_what_the_first_has_chosen(kvfpga, tmp_path):
    trace = write_trace(tmp_path / "t.jsonl", MORE)
    words = ("lab", "tune", trace, "--capacity", 12, "--trials", 12, "--seed", 3)
    found = kvfpga(*words)
    assert (found["command"], found["policy"], found["requests"]) == ("lab tune", "linear", [30, 30])
    stream = opened(str(trace)).stream
    first, boundary = first_requests(stream, 30), stream.offsets[30]
    assert first.touches == boundary
    for which in ("default", "chosen"):
        assert found["first_half"][which] == run_linear(first, found[which], 12).hits.mean()
        assert found["second_half"][which] == run_linear(stream, found[which], 12).hits[boundary:].mean()
    assert found["first_half"]["chosen"] >= found["first_half"]["default"]
    assert 0 < found["stopped"] < 12  # some were seen to be worse by a quarter of the first half
    again = kvfpga(*words)
    assert {key: value for key, value in again.items() if key != "seconds"} == {
        key: value for key, value in found.items() if key != "seconds"
    }
    for row in (values := rows(trace)[30:]):
        row["hash_ids"] = [block + 100 for block in row["hash_ids"]]
    other = MORE[:30] + [(row["timestamp"], row["output_length"], row["hash_ids"]) for row in values]
    write_trace(trace, other)
    assert kvfpga(*words)["chosen"] == found["chosen"]  # the second half has no say


def test_the_learner_s_constants_are_tuned_too(kvfpga, tmp_path):
    trace = write_trace(tmp_path / "t.jsonl", REQUESTS)
    shown = kvfpga.text("lab", "tune", trace, "--policy", "ranked", "--capacity", 8, "--trials", 2)
    assert "prior_events" in shown and "second half, which judges (15 requests)" in shown


@pytest.mark.parametrize("words, said", [
    (["--trials", "0"], "0 trials choose nothing"),
    (["--limit", "1"], "too few requests to be split"),
    (["--capacity", "512", "--entries", "256"], "a T1 of 512 blocks on a directory of 256 entries"),
])  # fmt: skip
def test_what_cannot_be_tuned_is_refused(kvfpga, tmp_path, words, said):
    kvfpga("lab", "tune", write_trace(tmp_path / "t.jsonl", REQUESTS), *words, code=2)
    assert said in kvfpga.err
