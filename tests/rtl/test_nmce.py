"""The compute engine's RTL at its own pins (tests/rtl/nmce): every score and numerator against exact arithmetic; the rate of R34.

Two geometries stand for all: rows of several beats whose C is multiplied by, in blocks of two bursts; and rows of one beat whose
C is a power of two, so that sums are often exactly between two floats. `python -m tests.rtl.nmce.nmce_check` has more of them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.rtl.nmce.nmce_bench import Geometry, Job, run
from tests.rtl.nmce.nmce_check import check, check_distances, check_numerators, rate

DATA = Path(__file__).parents[1] / "data" / "nmce"
FULL, SMALL = Geometry(512, 32, 128), Geometry(64, 64, 4)
pytestmark = pytest.mark.xdist_group("nmce")  # one after the other: they share models


def test_r31_the_published_scores():
    keys = np.load(DATA / "block.npy").view(np.uint16).reshape(2, 32, 128)[:1]
    queries = np.stack([np.load(DATA / f"query{n}.npy").view(np.uint16) for n in range(4)])
    wanted = json.loads((DATA / "expected.json").read_text())
    jobs = [Job(0, int(case["tokens"].split()[0].split(":")[1]) + 1, int(case["query"][5])) for case in wanted]
    found = [done.window[:32].tolist() for done in run(FULL, queries, keys, jobs).jobs]
    assert found == [case["score_bits"] for case in wanted] and len(found) == 5


@pytest.mark.parametrize("geometry, jobs", [(FULL, 340), (SMALL, 160)], ids=str)
def test_r31_r32_random_rows_with_pauses_errors_and_resets(geometry, jobs):
    """Ten thousand rows each, every word of the window; nothing is asked for that must not be; no job is lost or hangs."""
    assert check(geometry, jobs, seed=1) > 9000


def test_r32_scores_chosen_for_their_numerators():
    assert check_numerators(SMALL, 150, seed=1) == 9600


def test_r32_what_lies_below_half_of_the_last_place_decides_how_a_distance_is_rounded():
    assert check_distances(SMALL) == 256


@pytest.mark.parametrize("seed", range(2, 6))
def test_buffers_are_given_back_late_or_at_once(seed):
    assert check(SMALL, 40, seed=seed, pause=0, latency=0, wait=(0, 3, 90, 400)[seed - 2], resets=0, touches=50) > 2000


@pytest.mark.parametrize("numerators", [False, True])
def test_r34_keys_are_read_at_the_width_of_the_memory(numerators):
    assert rate(FULL, numerators) <= FULL.beats / 0.9
    assert rate(SMALL, False) <= SMALL.beats / 0.9
