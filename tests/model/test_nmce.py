"""The arithmetic of the compute engine (contract R31, R32, D33): both roads against exact numbers, and against each other."""

from __future__ import annotations

import json
import struct
from fractions import Fraction

import numpy as np
import pytest

from kvfpga.model import nmce, nmce_exact
from kvfpga.model.nmce_exact import INFINITY32, MINUS_INFINITY32, NAN16, NAN32, ONE32
from tests.helpers.places import DATA

ROWS = 700
EXAMPLES = DATA / "nmce"
EXPECTED = json.loads((EXAMPLES / "expected.json").read_text())


# ---- scores ----------------------------------------------------------------------------------------------------------
def value(bits: int, form: str) -> float:
    return struct.unpack(f"<{form}", struct.pack("<H" if form == "e" else "<I", bits))[0]


def is_nearest(exact: Fraction, bits: int, form: str) -> bool:
    """Is no other number of that format (`e` FP16, `f` FP32) nearer, and is it even where two are as near?"""
    sign_bit, infinity = (1 << 15, 0x7C00) if form == "e" else (1 << 31, INFINITY32)
    if bits >= sign_bit:
        return exact < 0 and is_nearest(-exact, bits - sign_bit, form)

    def size(magnitude: int) -> Fraction:
        if magnitude == infinity:  # what would come next, were there more exponents
            return 2 * Fraction(value(infinity - 1, form)) - Fraction(value(infinity - 2, form))
        return Fraction(value(magnitude, form))

    def reach(other: int) -> bool:  # does `exact` belong to `bits` rather than to its neighbour?
        middle = (size(bits) + size(other)) / 2
        return exact != middle and (exact < middle) == (bits < other) or exact == middle and bits % 2 == 0

    return exact >= 0 and (bits == 0 or reach(bits - 1)) and (bits == infinity or reach(bits + 1))


def right_score(query: list[int], key: list[int], row: nmce_exact.Row) -> bool:
    q, k = ([value(bits, "e") for bits in vector] for vector in (query, key))
    products = [a * b for a, b in zip(q, k)]  # exact: 22 bits
    if any(p != p for p in products) or {np.inf, -np.inf} <= set(products):
        return row == (NAN32, NAN16)
    for infinite in (np.inf, -np.inf):
        if infinite in products:
            return (value(row.fp32, "f"), value(row.fp16, "e")) == (infinite, infinite)
    exact = Fraction(sum(int(p * 2**48) for p in products) * nmce_exact.scale(len(query)), 1 << 80)
    if exact == 0:
        return row == (0, 0)
    return is_nearest(exact, row.fp32, "f") and is_nearest(exact, row.fp16, "e")


def finite(rng: np.random.Generator, shape) -> np.ndarray:
    bits = rng.integers(0, 1 << 16, shape, np.uint16)
    return np.where(bits & 0x7C00 == 0x7C00, bits & 0xBFFF, bits)


def all_bits(rng, head_dim):
    return finite(rng, head_dim), finite(rng, (ROWS, head_dim))


def some_specials(rng, head_dim):
    query, keys = finite(rng, head_dim), finite(rng, (ROWS, head_dim))
    places = rng.random(keys.shape) < 1.5 / head_dim
    keys[places] = rng.choice([0x7C00, 0xFC00, 0x7C00, 0xFC00, 0x7E00, 0xFFFF, 0x7C01], places.sum())
    query[0] = 0
    return query, keys


def subnormals(rng, head_dim):
    return finite(rng, head_dim) & 0x83FF, finite(rng, (ROWS, head_dim)) & 0x83FF


def ties(rng, head_dim):
    """Half-way between two FP32 or FP16 numbers, or the least bit off it."""
    query, keys = np.zeros(head_dim, np.uint16), np.zeros((ROWS, head_dim), np.uint16)
    query[:4] = np.float16([2048, 1, 2.0**-14, 2.0**-24]).view(np.uint16)
    keys[:, 0] = np.float16(rng.integers(1024, 2048, ROWS)).view(np.uint16)
    keys[:, 1] = np.float16(rng.integers(-2048, 2048, ROWS) * rng.integers(0, 2, ROWS)).view(np.uint16)
    keys[:, 2] = np.float16(rng.choice([0.0, 0.5, -0.5, 1, -1, 1.5, 2.0**13, 2.0**12], ROWS)).view(np.uint16)
    keys[:, 3] = rng.choice([0, 0, 1, 0x8001], ROWS)
    return query, keys


def cancelling(rng, head_dim):
    """Large products that leave nothing, or the least of all."""
    query, keys = finite(rng, head_dim), finite(rng, (ROWS, head_dim))
    half = head_dim // 2
    query[half:], keys[:, half:] = query[:half], keys[:, :half] ^ 0x8000
    query[-1], keys[:, -1] = 1, rng.choice([0, 1, 0x8001, 3], ROWS)
    query[half - 1], keys[:, half - 1] = 1, 0
    return query, keys


@pytest.mark.parametrize("head_dim", [4, 128, 256])
@pytest.mark.parametrize("kind", [all_bits, some_specials, subnormals, ties, cancelling], ids=lambda kind: kind.__name__)
def test_r31_both_roads_give_the_nearest_number(kind, head_dim):
    query, keys = kind(np.random.default_rng(head_dim), head_dim)
    found = nmce.row_scores(query, keys)
    assert len(set(found)) > 3
    for key, row in zip(keys.tolist(), found):
        assert row == nmce_exact.score(query.tolist(), key)
        assert right_score(query.tolist(), key, row), (query.tolist(), key)


def test_r31_a_query_with_an_infinity_and_one_with_a_nan():
    keys = np.float16([[1, 0, 0, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [np.inf, 0, 0, 0]]).view(np.uint16)
    scores = [row.fp32 for row in nmce.row_scores(np.float16([np.inf, 1, 1, 1]).view(np.uint16), keys)]
    assert scores == [INFINITY32, NAN32, MINUS_INFINITY32, INFINITY32]
    assert {row.fp32 for row in nmce.row_scores(np.float16([-np.nan, 1, 1, 1]).view(np.uint16), keys)} == {NAN32}


@pytest.mark.parametrize("head_dim", [4, 8, 16, 32, 64, 128, 256])
def test_r31_c_is_the_nearest_integer(head_dim):
    c = nmce_exact.scale(head_dim)
    assert (2 * c - 1) ** 2 * head_dim <= 1 << 66 < (2 * c + 1) ** 2 * head_dim


@pytest.mark.parametrize("example", EXPECTED, ids=lambda example: f"{example['query']} {example['tokens'].split()[0]}")
def test_r31_the_contracts_examples(example):
    keys, query = np.load(EXAMPLES / "block.npy")[0], np.load(EXAMPLES / example["query"])
    rows = int(example["tokens"].split()[0].split(":")[1]) + 1
    found = nmce.block_scores(query.view(np.uint16), keys.view(np.uint16), rows, numerators=False)
    assert list(found.score_bits) == example["score_bits"]


# ---- the exponential function ----------------------------------------------------------------------------------------
STEP = 2.0**-18
"""exp(x) is the same for all x between two multiples of it."""


def exp(x: np.ndarray) -> np.ndarray:
    return nmce.exp(x.astype(np.float32)).view(np.float32).astype(float)


def test_r32_every_fp16_from_minus_16_to_0_is_within_0_05_percent_and_none_rises():
    x = np.arange(0x8000, 0xCC01, dtype=np.uint16).view(np.float16).astype(float)  # from -0 down
    assert (x[0], x[-1], x.size) == (0, -16, 19457)
    found = exp(x)
    assert np.abs(found / np.exp(x) - 1).max() <= 0.0005
    assert (np.diff(found) <= 0).all() and found[0] == 1


def test_r32_every_fp32_from_minus_16_to_0_is_within_0_05_percent_and_none_rises():
    """All that one result stands for: the last x before the next step counts as well."""
    x = -STEP * np.arange(16 / STEP + 1)
    found = exp(x)
    assert max(np.abs(found / np.exp(x) - 1).max(), np.abs(found / np.exp(x - STEP) - 1).max()) <= 0.0005
    assert (np.diff(found) <= 0).all()
    inside = np.nextafter(np.float32(x[1:]), np.float32(0))
    assert (exp(inside) == found[:-1]).all()


def test_r32_further_out_it_falls_on_to_0():
    x = np.linspace(-16, -130, 1 << 20).astype(np.float32).astype(float)
    found, normal = exp(x), x >= -87.33
    assert (np.diff(found) <= 0).all() and found.min() == 0 and found[0] <= np.exp(-16) * 1.001
    assert np.abs(found / np.exp(x) - 1)[normal].max() <= 0.00051
    assert set(exp(np.float32([-np.inf, -3e38, -128, -88]))) == {0}


def test_r32_nothing_and_almost_nothing_below_the_largest_is_1():
    assert set(exp(np.float32([0, -0.0, -1e-45, -1e-38, -(STEP - 2.0**-42)]))) == {1}
    assert exp(np.float32([-STEP])) < 1


def test_r32_the_exponential_of_single_values_is_the_same():
    rng = np.random.default_rng(5)
    bits = np.concatenate([
        rng.integers(1 << 31, MINUS_INFINITY32 + 1, 5000, np.uint32), rng.integers(0xB6000000, 0xC3200000, 20000, np.uint32),
    ])  # fmt: skip
    assert nmce.exp(bits.view(np.float32)).tolist() == [nmce_exact.exp(x) for x in bits.tolist()]


# ---- numerators ------------------------------------------------------------------------------------------------------
def numerators(*scores: float, rows: int | None = None) -> tuple[list[float], float, float]:
    bits = np.float32(scores).view(np.uint32)
    each, largest, total = nmce.block_numerators(bits, len(scores) if rows is None else rows)
    assert nmce_exact.numerators(bits.tolist(), len(scores) if rows is None else rows) == (each.tolist(), largest, total)
    return [*each.view(np.float32).tolist()], value(largest, "f"), value(total, "f")


INF, NAN = np.inf, np.nan


def test_r32_the_largest_score_has_1():
    each, largest, total = numerators(3.0, 3.0, 0.0, -1e30)
    assert (each[:2], each[3], largest) == ([1, 1], 0, 3)
    assert abs(each[2] - np.exp(-3)) < 0.0005 * np.exp(-3) and total == np.float32(2 + each[2])


def test_r32_rows_beyond_token_end_have_0_and_do_not_count():
    assert numerators(1.0, -INF, -INF, rows=1) == ([1, 0, 0], 1, 1)
    assert numerators(-INF, -INF, -INF, rows=2) == ([1, 1, 0], -INF, 2)


def test_r32_infinite_scores():
    assert numerators(INF, 1.0, INF, -INF) == ([1, 0, 1, 0], INF, 2)
    assert numerators(1.0, -INF) == ([1, 0], 1, 1)


def test_r32_a_nan_is_no_maximum_and_makes_the_sum_one():
    each, largest, total = numerators(NAN, 2.0, -INF)
    assert np.isnan(each[0]) and each[1:] == [1, 0] and largest == 2 and np.isnan(total)
    each, largest, total = numerators(NAN, NAN, -INF, rows=2)
    assert np.isnan([*each[:2], largest, total]).all() and each[2] == 0


def test_r32_sums_are_rounded_after_each_addition():
    """From 16 on, what is below half of 2^-20 is lost in each addition, and is not when it comes first."""
    small = float(np.log(2.0**-22))
    assert numerators(*[0.0] * 16, *[small] * 16)[2] == 16
    assert numerators(*[small] * 16, *[0.0] * 16)[2] > 16


def test_r32_numerators_of_random_blocks_by_both_roads():
    rng = np.random.default_rng(6)
    for _ in range(300):
        scores = rng.normal(0, 10.0 ** rng.integers(-6, 6), 32).astype(np.float32)
        special = rng.random(32) < rng.choice([0, 0, 0.1, 0.5])
        scores[special] = rng.choice([INF, -INF, NAN, -INF, 0], special.sum())
        scores = np.where(np.isnan(scores), np.uint32(NAN32), scores.view(np.uint32))
        rows = int(rng.integers(1, 33))
        each, largest, total = nmce.block_numerators(scores, rows)
        assert (each.tolist(), largest, total) == nmce_exact.numerators(scores.tolist(), rows)
        assert ONE32 in each.tolist() or largest == NAN32
