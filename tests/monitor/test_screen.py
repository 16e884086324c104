"""`kvfpga top` on a terminal, by its keys (textual's pilot), in a small terminal and a larger one."""

from __future__ import annotations

import asyncio
import io
import re
import threading

import numpy as np
import pytest
from rich.console import Console
from textual.widgets import Static, TabbedContent

from kvfpga.contract.errors import TargetError
from kvfpga.monitor.block_list import COLUMNS, BlockList
from kvfpga.monitor.look import Watch, change
from kvfpga.monitor.screen import Top
from kvfpga.monitor.view import View
from kvfpga.session.session import Session
from kvfpga.targets.target import parse_target
from tests.helpers.command_line import BLOCK, Kvfpga

SIZES = [(80, 24), (120, 40)]
VA = 0x1000_0000


def fill(device, blocks=200):
    """Blocks of two classes, T1 too small for them, and a ranked policy that has had to search."""
    device.set(T1_CAPACITY=64)
    codes = np.zeros((device.model.classes, 64), np.uint8)
    codes[0], codes[7] = 100 - np.arange(64), 255 - 3 * np.arange(64)
    device.ranked(codes, fill_age=200)
    for n in range(blocks):
        device.load(1 + n // 100, n % 100, 0, (0, 31), VA + n * BLOCK, class_id=7 * (n % 2), order=n % 256)
    device.step(50)


@pytest.fixture
def views(tmp_path) -> list[View]:
    """Two looks at a session of the model, between which something was done."""
    target = parse_target("model", 256)
    with Session(target, tmp_path) as session:
        fill(session.open())
        session.save()
    watch = Watch(target, tmp_path)
    first = watch.look(10)
    with Session(target, tmp_path) as session:
        device = session.open()
        device.lookup(1, 3, 0, 5, touch=True)
        device.lookup(9, 3, 0, 5)
        device.step(51)
        session.save()
    second = watch.look(10)
    return [View(first, None, 1.0), View(second, change(first, second), 1.0, ("a note of the session",))]


def on_screen(views, size, steps, more=None, stop=None):
    """Run `steps(app, pilot)` on a screen that has shown all of `views`; `more` is called for what comes after them."""
    stop = stop or threading.Event()

    def looks():
        yield from views
        (more or stop.wait)()

    async def run():
        app = Top(looks(), stop)
        async with app.run_test(size=size) as pilot:
            while app.view is not views[-1]:
                await pilot.pause(0.01)
            for _ in range(1000):  # the line of keys comes a little later
                await pilot.pause(0.01)
                if app._exit or any("q quit" in line for line in lines(app)[-1:]):  # nothing is shown once it has ended
                    break
            await steps(app, pilot)
        return app

    return asyncio.run(run())


def lines(app) -> list[str]:
    """What the terminal shows."""
    return ["".join(segment.text for segment in strip).rstrip() for strip in app.screen._compositor.render_strips()]


def shows(app, *patterns):
    text = "\n".join(lines(app))
    for pattern in patterns:
        assert re.search(pattern, text), f"{pattern}\n{text}"


# ---- panes -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
def test_the_overview_shows_tiers_lookups_and_threshold_at_once(views, size):
    async def steps(app, pilot):
        shows(
            app, r"kvfpga top · model · 256 × 16 KiB · step 51 \(", r"T1 +64 +64 +100.0 %", r"T2 DRAM +136 ",
            r"misses +1 +50.0 %",
            r"θ, the rank to win +[\d,]+ \(code \d+, order \d+\)", r"pool +\d+ for 64 places", r"a note of the session",
            r"q quit +1 overview +2 blocks +3 classes",
        )  # fmt: skip
        assert "…" not in "\n".join(lines(app)) and not any("sort" in line for line in lines(app))

    on_screen(views, size, steps)


@pytest.mark.parametrize("size", SIZES)
def test_what_does_not_fit_is_scrolled_to(views, size):
    async def steps(app, pilot):
        assert ("blocks in flight" in "\n".join(lines(app))) == (size == SIZES[1])  # a large terminal shows it all
        await pilot.press("end")
        await pilot.pause(0.5)
        shows(app, r"activity +per second +last look +in all", r"evict triggers", r"blocks in flight +0")

    on_screen(views, size, steps)


@pytest.mark.parametrize("size", SIZES)
def test_classes_have_their_codes_and_what_wins_is_marked(views, size):
    async def steps(app, pilot):
        await pilot.press("3")
        await pilot.pause()
        shows(app, r"class +T1 +elsewhere +code by age", r"\n +0 +\d+ +\d+ +[▁▂▃▄▅▆▇█]+", r"\n +7 +64 +36 +█", "green: wins")

    on_screen(views, size, steps)


def test_classes_of_a_linear_device_have_no_codes(tmp_path):
    kv = Kvfpga(tmp_path)
    kv("load", "--request", 1, "--layer", 0, "--head", 0, "--tokens", "0:31", "--va", VA, "--class", 3)
    found = Watch(parse_target("model", 256), tmp_path).look(1)

    async def steps(app, pilot):
        shows(app, r"linear policy", r"evicted from +priority [\d,]+ down", r"weights R F S D +\d+ \d+ \d+ \d+")
        await pilot.press("3")
        await pilot.pause()
        shows(app, r"\n +3 +1 +0", r"kvfpga policy ranked")
        assert not re.search("code by age|green", "\n".join(lines(app)))

    on_screen([View(found, None, 1.0)], (80, 24), steps)


# ---- all blocks ------------------------------------------------------------------------------------------------------
def column(app, name) -> list[str]:
    """The cells of a column as they are shown, by where its name stands."""
    shown = lines(app)
    place = next(n for n, line in enumerate(shown) if "priority" in line and "request" in line)
    end = re.search(rf"\b{name}[▼▲]?", shown[place]).end()
    return [line[:end].split()[-1] for line in shown[place + 1 :] if "0x" in line]


@pytest.mark.parametrize("size", SIZES)
def test_blocks_are_sorted_by_any_column(views, size):
    async def steps(app, pilot):
        await pilot.press("2")
        await pilot.pause()
        blocks = app.query_one(BlockList)
        assert blocks.sorted_by == ("priority", True)
        hottest = [int(cell) for cell in column(app, "priority")]
        assert len(hottest) >= size[1] - 9 and hottest == sorted(hottest, reverse=True)
        assert hottest[0] == max(views[-1].snapshot.rows["priority"])
        await pilot.press("r")
        coldest = [int(cell) for cell in column(app, "priority")]
        assert blocks.sorted_by == ("priority", False) and coldest == sorted(coldest)
        await pilot.press("s")
        assert blocks.sorted_by == ("tier", False) and set(column(app, "tier")) == {"T1"}
        await pilot.press("S", "S")
        assert blocks.sorted_by == ("block", False) and column(app, "block")[:3] == ["0", "1", "2"]
        await pilot.press("S")
        assert blocks.sorted_by == ("flags", False)  # round in a circle

    on_screen(views, size, steps)


def test_a_click_on_a_name_sorts_by_it_and_another_one_the_other_way_round(views):
    async def steps(app, pilot):
        await pilot.press("2")
        await pilot.pause()
        blocks = app.query_one(BlockList)
        place = lines(app)[blocks.region.y].index("class") + 2 - blocks.region.x
        await pilot.click(BlockList, offset=(place, 0))
        assert blocks.sorted_by == ("class", True) and set(column(app, "class")) == {"7"}
        await pilot.click(BlockList, offset=(place, 0))
        assert blocks.sorted_by == ("class", False) and set(column(app, "class")) == {"0"}
        await pilot.click(BlockList, offset=(place, 3))
        assert blocks.sorted_by == ("class", False)

    on_screen(views, (80, 24), steps)


def test_blocks_are_scrolled_to_the_last_and_new_looks_leave_them_there(views):
    async def steps(app, pilot):
        await pilot.press("2", "s", "S", "S", "r")  # by block, the lowest first
        await pilot.press("end")
        await pilot.pause(0.5)
        assert column(app, "block")[-1] == "199"
        app.draw()
        await pilot.pause()
        assert column(app, "block")[-1] == "199"
        await pilot.press("right")
        await pilot.pause(0.5)
        assert app.query_one(BlockList).scroll_offset.x > 0

    on_screen(views, (60, 24), steps)


def test_every_column_is_sorted_by_what_it_shows(views):
    rows = views[-1].snapshot.rows
    blocks = BlockList()
    blocks.show(rows)
    for place, found in enumerate(COLUMNS):
        blocks.sort(place, False)
        keys = [tuple(int(rows[field][row]) for field in found.fields) for row in blocks._order]
        assert keys == sorted(keys) and len(keys) == 200
        blocks.sort(place, True)
        keys = [tuple(int(rows[field][row]) for field in found.fields) for row in blocks._order]
        assert keys == sorted(keys, reverse=True)


def test_sort_keys_are_offered_where_they_do_something(views):
    async def steps(app, pilot):
        await pilot.press("s", "r")
        assert app.query_one(BlockList).sorted_by == ("priority", True)
        await pilot.press("2")
        await pilot.pause()
        shows(app, r"s sort  S back  r reverse")

    on_screen(views, (80, 24), steps)


def test_an_empty_device_has_empty_panes(tmp_path):
    Kvfpga(tmp_path)("reset")
    found = Watch(parse_target("model", 256), tmp_path).look(1)

    async def steps(app, pilot):
        for key in "23":
            await pilot.press(key)
            await pilot.pause()
        shows(app, r"class +T1 +elsewhere")

    on_screen([View(found, None, 1.0)], (80, 24), steps)


def test_a_tiny_terminal_is_no_error(views):
    async def steps(app, pilot):
        for key in "123":
            await pilot.press(key)
            await pilot.pause()
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        await pilot.press("1")
        await pilot.pause()
        shows(app, "blocks in flight")

    on_screen(views, (20, 5), steps)


# ---- the end ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_a_key_ends_it_and_the_looks(views, key):
    stop, ended = threading.Event(), threading.Event()

    async def steps(app, pilot):
        await pilot.press(key)

    def more():
        stop.wait()
        ended.set()

    app = on_screen(views, (80, 24), steps, more, stop)
    assert ended.wait(60) and app.return_code == 0 and app.error is None


def test_what_ends_the_looks_ends_the_screen(views):
    def gone():
        raise TargetError("the port is gone", "plug it in again")

    async def steps(app, pilot):
        while app.is_running and app.error is None:
            await pilot.pause(0.01)

    app = on_screen(views, (80, 24), steps, gone)
    assert str(app.error) == "the port is gone\n  plug it in again"


def test_the_last_of_counted_looks_ends_it(views):
    async def steps(app, pilot):
        while app.is_running and not app._exit:
            await pilot.pause(0.01)

    app = on_screen(views, (80, 24), steps, lambda: None)
    assert app.error is None and app.view is views[-1]


def test_a_look_at_the_ranked_policy_has_the_table_in_force_and_one_at_the_linear_none(views, tmp_path):
    assert views[-1].snapshot.table[7, 1] == 252 and views[-1].snapshot.telemetry["theta"] > 0
    kv = Kvfpga(tmp_path)
    kv("policy", "linear")
    assert Watch(parse_target("model", 256), tmp_path).look(1).table is None


def test_theta_that_falls_is_no_reset(views):
    """Thresholds, pools and what is outside come and go; only counters that fall say that they were cleared."""
    first, second = (view.snapshot for view in views)
    second.telemetry["theta"], first.telemetry["theta"] = 5, 50_000
    grown = change(first, second).counters
    assert grown["step_count"] == 1 and "theta" not in grown


def test_static_text_of_the_foot_goes_when_there_is_nothing_to_say(views):
    async def steps(app, pilot):
        assert app.query_one("#foot", Static).display
        app.view = views[0]
        app.draw()
        await pilot.pause()
        assert not app.query_one("#foot", Static).display and app.query_one(TabbedContent).active == "overview"

    on_screen(views, (80, 24), steps)


NUMBER = re.compile(r"\d[\d,.:x]*\d|\d")


@pytest.mark.parametrize("columns", [16, 30, 50, 80])
def test_no_number_is_cut_however_narrow(views, columns):
    """What has no room goes, column by column, or says so: each number on the screen is one of a wide screen."""
    shown = {}

    async def steps(app, pilot):
        for key in "123":
            await pilot.press(key)
            for _ in range(3):
                await pilot.pause(0.05)
            shown[app.size.width, key] = lines(app)[:-1]  # without the line of keys
            if key == "2":
                await pilot.press("right", "right", "right")
                await pilot.pause(0.2)
                shown[app.size.width, "scrolled"] = lines(app)[:-1]

    for width in (columns, 200):
        on_screen(views, (width, 80), steps)
    wide = {number for (width, _), text in shown.items() if width == 200 for number in NUMBER.findall("\n".join(text))}
    for place in ("1", "2", "3", "scrolled"):
        text = "\n".join(shown[columns, place])
        said = set(re.findall(r"\d+", " ".join(re.findall(r"takes\s+\d+\s+columns,\s+and\s+there\s+are\s+\d+", text))))
        assert not set(NUMBER.findall(text)) - wide - said, (place, text)
        assert "…" not in text or place in ("2", "scrolled"), (place, text)


@pytest.mark.parametrize("columns", [16, 20, 40, 60, 80, 130])
def test_no_number_of_a_look_that_is_printed_is_cut(views, columns):
    def printed(width):
        console = Console(width=width, file=io.StringIO())
        console.print(views[-1])
        return console.file.getvalue()

    text = printed(columns)
    said = set(re.findall(r"\d+", " ".join(re.findall(r"takes\s+\d+\s+columns,\s+and\s+there\s+are\s+\d+", text))))
    assert not set(NUMBER.findall(text)) - set(NUMBER.findall(printed(200))) - said and not re.search(r"\d…", text), text
