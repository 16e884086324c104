"""Pages: files that generations share. What is stored comes back; what did not change is not written again."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from kvfpga.blackbox.pages import PAGE, SPARE, Pages, in_memory
from tests.helpers.command_line import BLOCK, Kvfpga


def read(home, state, name="file"):
    with in_memory(name) as (handle, path):
        Pages(home, state).copy(name, handle)
        return path.read_bytes()


def store(home, state, data, name="file"):
    pages = Pages(home, state)
    state = pages.commit({name: lambda path: path.write_bytes(data)})
    pages.sweep()
    return state


def page(number):
    return number.to_bytes(2, "little") * (PAGE // 2)


def test_whatever_is_stored_comes_back_after_whatever_came_before(tmp_path):
    rng, state, data = random.Random(1), None, b""
    numbers = set()
    for _ in range(300):
        count = rng.choice([0, 1, 2, 30, 60])
        kept = data[: PAGE * rng.randrange(61)]
        data = kept + b"".join(page(rng.choice([0, 0, rng.randrange(1, 5000)])) for _ in range(count))
        data = data[: len(data) - rng.choice([0, 0, 1, 4000])]
        state = store(tmp_path, state, data)
        assert read(tmp_path, state) == data
        numbers.add(state["number"])
        assert [path.name for path in tmp_path.iterdir()] == [f"pages-{state['number']}.bin"]
    assert len(numbers) > 2, "a file of which half is of no use was made anew"


def test_what_is_taken_only_in_part_is_written_on(tmp_path, monkeypatch):
    """The kernel takes less than 2 GiB at once, and a directory full of blocks has more."""
    content = random.Random(1).randbytes(5 * PAGE)
    state = Pages(tmp_path).commit({"it": lambda path: path.write_bytes(content)})
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: whole(handle, memoryview(data).cast("B")[: PAGE + 100], at))
    with in_memory("it") as (handle, path):
        Pages(tmp_path, state).copy("it", handle)
        assert path.read_bytes() == content


def test_a_page_that_did_not_change_is_not_written_again(tmp_path):
    data = [page(number) for number in range(1, 101)]
    first = store(tmp_path, None, b"".join(data))
    path = tmp_path / "pages-1.bin"
    before = path.read_bytes()
    assert len(before) == 100 * PAGE
    data[7], data[50] = page(5000), bytes(PAGE)
    second = store(tmp_path, first, b"".join(data))
    assert path.read_bytes() == before + page(5000), "zeros take no room"
    assert read(tmp_path, first) == before, "the generation before is whole until the next one counts"
    assert read(tmp_path, second) == b"".join(data)


def test_the_file_is_at_most_twice_what_counts_and_some(tmp_path):
    state = None
    for number in range(1, 2000):
        state = store(tmp_path, state, page(number) * 3)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= (2 * 3 + SPARE + 3) * PAGE


def test_what_a_crash_left_behind_is_cut_off(tmp_path):
    state = store(tmp_path, None, page(1))
    with open(tmp_path / "pages-1.bin", "ab") as file:
        file.write(b"half a page")
    state = store(tmp_path, state, page(2))
    assert (tmp_path / "pages-1.bin").read_bytes() == page(1) + page(2) and read(tmp_path, state) == page(2)


@pytest.mark.parametrize("target", ["sim", "model"])
def test_a_command_about_one_block_writes_a_few_pages(tmp_path, target):
    np.save(tmp_path / "block.npy", np.random.default_rng(1).integers(0, 256, BLOCK, np.uint8))
    kv = Kvfpga(tmp_path / "s", "--target", target)
    kv("reset", "--raw")
    for n in range(16):
        place = ("--request", 1, "--layer", 0, "--head", n, "--tokens", "0:31", "--va", n * BLOCK)
        kv("load", *place, "--data", tmp_path / "block.npy")
    (path,) = (tmp_path / "s" / target).glob("pages-*.bin")
    before = path.read_bytes()
    kv("hot", 3 * BLOCK, BLOCK)
    kv("step", 1)
    after = path.read_bytes()
    assert after[: len(before)] == before, "what was there is never written to"
    assert 0 < len(after) - len(before) < len(before) / 4
    assert kv("verify")["code"] == "OK"
