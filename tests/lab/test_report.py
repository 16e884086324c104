"""The lab's report: one page that loads nothing, whatever the cells are, and pictures whose labels keep apart."""

from __future__ import annotations

import dataclasses
import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.text import Text

from kvfpga.contract.errors import UsageError
from kvfpga.lab import cells, report
from kvfpga.lab.policies import on_device
from kvfpga.lab.policies.contender import Options
from kvfpga.lab.report import content, drawing, looks, plots
from kvfpga.lab.stream import of as stream_of
from kvfpga.lab.traces import SAMPLE, load_trace
from tests.helpers import lab_cells

FEW = ("lru", "mq", "ranked", "ranked+final", "linear:balanced", "optimal")
SMALL = (1024, 4096)
HOSTILE = "<script>alert(1)<script> $x_$ & \"'\x01\x7f\u202e.jsonl"
VOID = {"meta", "br"}
LINKS = {"src", "href", "xlink:href", "action", "data", "poster", "srcset"}


class Page(HTMLParser):
    """What a browser would make of it: `ids`, `links`, `texts` by the element they stand in, `tags` that are there at all. That
    elements close in order is looked at on the way."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.handle_attributes(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.handle_attributes(attrs)

    def handle_attributes(self, attrs):
        for name, value in attrs:
            assert not name.startswith("on"), f"a script in {name}"
            if name == "id":
                self.ids.append(value)
            if name in LINKS:
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag: str) -> list[str]:
        return [text for element, text in self.texts if element == tag]


def page_of(place) -> Page:
    return Page((place / "report.html").read_text())


def row_of(page: Page, *beginning: str) -> str:
    """The texts behind these ones, which follow each other."""
    words = [text for _, text in page.texts]
    at = next(n for n in range(len(words)) if words[n : n + len(beginning)] == list(beginning))
    return " ".join(words[at : at + len(beginning) + 12])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a real trace, a generated one, a run with another step, and claims; and its report."""
    place = tmp_path_factory.mktemp("lab")
    lab_cells.fill(place, policies=FEW, capacities=SMALL)
    lab_cells.fill(place, ["made.jsonl"], FEW, SMALL, sampled=False, generated=True)
    lab_cells.fill(place / "step50", policies=["ranked", "ranked+final"], capacities=SMALL, step_ms=50.0, sampled=False)
    lost = dataclasses.replace(
        lab_cells.cell("conversation.jsonl", "lhd", 4096, 0), hits=None, prefix_hits=None, fills=None, status=cells.TIMED_OUT
    )
    cells.store(place, lost)
    claim = {"claim": "12 cycles", "measured": "11 cycles", "on": "the RTL", "verdict": "held"}
    (place / "claims.json").write_text(json.dumps({"claims": [claim]}))
    assert report.write(place, facts={"BUILD_ID": "0xabcd"}) == place / "report.html"
    return place


@pytest.fixture(scope="module")
def page(written):
    return page_of(written)


def test_the_page_loads_nothing(written, page):
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert not page.tags & {"script", "link", "iframe", "object", "img"}
    text = (written / "report.html").read_text()
    assert "@import" not in text and set(part.split(")")[0][:1] for part in text.split("url(")[1:]) == {"#"}


def test_every_id_is_there_once_and_every_link_leads_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    assert {"summary", "trace-1", "trace-2", "tables", "sensitivity", "claims", "repeat"} <= set(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_the_pictures_are_in_it_with_their_texts(page):
    texts = page.all("text")
    for text in (
        "touches that hit", "made.jsonl (generated)", "ranked", "optimal†", "4,096",
        "ranked+final† (right in 90%, seed 1)", "share of the gap from LRU to the optimum", "moved into tier 1, GiB",
        "conversation.jsonl: the device over time",
        "θ, the least priority that stays", "ranked on conversation.jsonl: the last table",
    ):  # fmt: skip
        assert any(text in found for found in texts), text


def test_what_uses_the_future_is_marked_everywhere(page):
    named = [text for _, text in page.texts if text.startswith(("ranked+final", "optimal"))]
    assert named and all("†" in text for text in named)


def test_generated_traffic_is_marked_everywhere(page):
    for tag, text in page.texts:
        if text.startswith("made.jsonl") and tag == "text":
            assert "(generated)" in text
    assert page.all("span").count("generated traffic") == 2  # in the summary and at its heading


def test_the_summary_says_who_wins(page):
    """Of those without the future; the optimum and LRU stand beside."""
    for cell_of, capacity in (("ranked", 1024), ("mq", 1024)):
        cell = lab_cells.cell("conversation.jsonl", cell_of, capacity, lab_cells.STRENGTHS[cell_of])
        assert f"{100 * cell.hit_rate:.2f}" in row_of(page, "conversation.jsonl", "1,024", "ranked")


def test_what_did_not_finish_is_named(page):
    assert any("lhd on conversation.jsonl at 4,096 (timed out)" in text for text in page.all("p"))
    assert "timed out" in page.all("td") and "not run" in page.all("td")


def test_bytes_moved_say_how_a_block_is_known(page):
    assert any("16,384 bytes" in text and "BLOCK_BYTES" in text for text in page.all("p"))


def test_the_sensitivity_table_compares_what_differs(page):
    first, other = (lab_cells.cell("conversation.jsonl", "ranked", 1024, 0.31, step_ms=step) for step in (100.0, 50.0))
    assert f"{100 * first.hit_rate:.2f}" in row_of(page, "conversation.jsonl", "ranked", "1,024", "65536", "100.0")
    row = row_of(page, "conversation.jsonl", "ranked", "1,024", "65536", "50.0")
    assert f"{100 * other.hit_rate:.2f}" in row and "+0.00" in row


def test_the_claims_have_their_section(page):
    assert ["12 cycles", "11 cycles", "the RTL"] == page.all("td")[-3:] and page.all("strong") == ["held"]


def test_it_says_how_each_number_is_repeated(page):
    (lines,) = page.all("pre")
    assert "kvfpga lab run conversation.jsonl --limit 12031 --policy " in lines
    future = "--policy ranked+final --capacity 1024,4096 --entries 65536 --step-ms 100 --final-accuracy 0.9 --seed 1 --out DIR"
    assert future in lines
    with_what = page.all("p")[-1]
    assert "libcachesim 0.3.5" in with_what and "BUILD_ID 0xabcd" in with_what and "kvfpga" in with_what


def test_the_json_has_every_cell_and_differs_in_times_only(written, tmp_path):
    found = json.loads((written / "report.json").read_text())
    names = [(cell["trace"], cell["policy"], cell["capacity"]) for cell in found["cells"]]
    assert names == sorted(names) and len(names) == 2 * len(FEW) * len(SMALL) + 1
    later = tmp_path / "later"
    shutil.copytree(written, later, ignore=shutil.ignore_patterns("*.npz"))  # no pictures over time, which take long
    for cell in cells.load(later):
        cells.store(later, dataclasses.replace(cell, seconds=77.0, learn_seconds=5.0))
    report.write(later)
    again = json.loads((later / "report.json").read_text())
    assert again.pop("times") != found.pop("times") and json.dumps(again) == json.dumps(found)


def test_the_same_cells_give_the_same_bytes(written):
    before = {path.name: path.read_bytes() for path in written.iterdir() if path.is_file()}
    report.write(written, facts={"BUILD_ID": "0xabcd"})
    assert {path.name: path.read_bytes() for path in written.iterdir() if path.is_file()} == before
    assert {"trace-1-rates.png", "trace-1-gap.png", "trace-1-time.png", "table-1.png"} <= set(before)


# ---- whatever the cells are ---------------------------------------------------------------------------------------------


def test_a_hostile_name_is_only_a_name(tmp_path):
    lab_cells.fill(tmp_path, [HOSTILE], ["lru", "ranked", "optimal"], [64])
    report.write(tmp_path)
    found = page_of(tmp_path)
    assert "script" not in found.tags
    assert any("<script>alert(1)<script> $x_$ &" in text for text in found.all("text"))
    assert any("<script>alert(1)<script>" in text for text in found.all("h2"))
    assert not any(character in text for _, text in found.texts for character in "\x01\x7f\u202e")


@pytest.mark.parametrize("policies", [["ranked"], ["lru"], ["mq", "lhd"], ["optimal"], ["linear:balanced", "lru"]])
@pytest.mark.parametrize("capacities", [[4096], [0, 4096], [0]])
def test_policies_and_capacities_may_be_missing(tmp_path, policies, capacities):
    lab_cells.fill(tmp_path, policies=policies, capacities=capacities, sampled=False)
    report.write(tmp_path)
    found = page_of(tmp_path)
    assert all(any(text.startswith(policy) for text in found.all("td")) for policy in policies)
    assert "tables" not in found.ids


def test_nothing_may_have_finished(tmp_path):
    lost = dataclasses.replace(
        lab_cells.cell("a.jsonl", "mq", 64, 0), hits=None, prefix_hits=None, fills=None, status=cells.FAILED, reason="no memory"
    )
    cells.store(tmp_path, lost)
    report.write(tmp_path)
    found = page_of(tmp_path)
    assert "svg" not in found.tags and any("mq on a.jsonl at 64 (failed, no memory)" in text for text in found.all("p"))


def test_the_tables_are_split_where_capacities_are_many(tmp_path):
    lab_cells.fill(tmp_path, policies=["lru", "mq"], capacities=[2**n for n in range(5, 17)], sampled=False)
    report.write(tmp_path)
    heads = page_of(tmp_path).all("th")
    assert heads.count("policy") == 2 * 3 and heads.count("65,536 blocks") == 2


def test_a_ranked_run_keeps_its_last_table():
    stream = stream_of(load_trace(SAMPLE, 60))
    ranked = next(found for found in on_device.contenders() if found.name == "ranked")
    hints = ranked.prepare(stream, Options())
    kept = ranked.run(stream, 64, Options(), hints).samples
    assert np.array_equal(kept["table"], hints.tables[hints.table_of[-1]]) and {"step", "t1_used", "theta"} <= set(kept)


def test_empty_samples_are_no_picture(tmp_path):
    cell = lab_cells.cell("a.jsonl", "ranked", 64, 0.3)
    nothing = np.zeros(0, np.int64)
    cells.store(tmp_path, cell, {"step": nothing, "t1_used": nothing, "theta": nothing})
    report.write(tmp_path)
    assert not (tmp_path / "trace-1-time.png").exists()


def test_a_folder_without_cells_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no finished cells") as refused:
        report.write(tmp_path)
    assert "kvfpga lab run" in refused.value.remedy


def test_claims_that_are_none_are_refused(tmp_path):
    lab_cells.fill(tmp_path, policies=["lru"], capacities=[64])
    (tmp_path / "claims.json").write_text("[]")
    with pytest.raises(UsageError, match="claims.json has no claims"):
        report.write(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-30], lambda data: b"no zip", lambda data: data[:60]])
def test_samples_that_are_none_are_refused(tmp_path, damage):
    cells.store(tmp_path, lab_cells.cell("a.jsonl", "ranked", 64, 0.3), {"step": np.arange(100)})
    (path,) = (tmp_path / "cells").glob("*.npz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match=r"a\.jsonl\.ranked\.64\.npz has no samples") as refused:
        report.write(tmp_path)
    assert "lab run" in refused.value.remedy


# ---- pictures -----------------------------------------------------------------------------------------------------------


def overlaps(figure, monkeypatch) -> list[str]:
    """Texts of a figure that lie on each other, or not wholly in it."""
    drawn: list[Text] = []
    draw = Text.draw

    def noted(self, renderer):
        if self.get_visible() and self.get_text().strip():
            drawn.append(self)
        draw(self, renderer)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", noted)
        figure.draw_without_rendering()
    boxes = {id(text): (text.get_text(), text.get_window_extent()) for text in drawn}
    assert boxes
    found, whole = list(boxes.values()), figure.bbox.padded(1)
    told = [text for text, box in found if not (box.x0 >= whole.x0 and box.y0 >= whole.y0 and np.all(box.max <= whole.max))]
    for number, (text, box) in enumerate(found):
        told += [f"{text} on {other}" for other, its in found[:number] if box.padded(-0.5).overlaps(its.padded(-0.5))]
    return told


def view(tmp_path, name, policies=tuple(lab_cells.STRENGTHS), capacities=lab_cells.CAPACITIES):
    lab_cells.fill(tmp_path, [name], policies, capacities)
    (found,) = content.gather(tmp_path).traces
    return found


NEAR = (1000, 1024, 1100, 2000, 2048, 4000, 4096, 5000, 60_000, 65_536)


@pytest.mark.parametrize("name", ["conversation.jsonl", "W" * 200])
@pytest.mark.parametrize("capacities", [(4096,), (1024, 16384), lab_cells.CAPACITIES, NEAR], ids=len)
def test_no_label_lies_on_another(tmp_path, monkeypatch, name, capacities):
    shown = view(tmp_path, name, capacities=capacities)
    samples = {(cell.policy, cell.capacity): lab_cells.samples(cell.capacity) for cell in shown.cells if cell.policy == "ranked"}
    with drawing.style():
        for figure in (
            plots.rates(shown), plots.gap_and_bytes(shown, 16384), plots.over_time(shown, samples),
            plots.rank_table(shown.by_place["ranked", capacities[0]], lab_cells.table()),
        ):  # fmt: skip
            assert overlaps(figure, monkeypatch) == []


def test_labels_that_lie_on_each_other_are_seen(monkeypatch):
    with drawing.style():
        figure = plots._figure(2)
        figure.text(0.5, 0.5, "one")
        figure.text(0.5, 0.52, "other")
        figure.text(0.99, 0.1, "outside")
    assert overlaps(figure, monkeypatch) == ["outside", "other on one"]


def test_no_two_policies_look_alike():
    found = looks.looks(list(lab_cells.STRENGTHS))
    seen = {(look["color"], look["marker"], look["linestyle"]) for look in found.values()}
    assert len(seen) == len(lab_cells.STRENGTHS)
    own = [look for policy, look in found.items() if content.is_device(policy)]
    others = [look for policy, look in found.items() if not content.is_device(policy)]
    assert min(look["linewidth"] for look in own) > max(look["linewidth"] for look in others)
    assert {look["color"] for look in found.values()} <= {
        "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
    }  # fmt: skip
