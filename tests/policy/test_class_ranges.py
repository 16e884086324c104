"""CLASS for single blocks: what the ranges give each block, and that fewer ranges cannot do it."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from kvfpga.contract.commands import Class, Load, hint_of
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.policy.class_ranges import class_ranges
from kvfpga.policy.orders import orders

BLOCK = 16384


def falling(lengths, top):
    """Orders from `top` down, so many blocks of each."""
    return [max(0, top - level) for level, length in enumerate(lengths) for _ in range(length)]


ORDERS = st.one_of(
    st.lists(st.integers(0, 4), max_size=14),
    st.builds(falling, st.lists(st.sampled_from([1, 2, 2, 3, 4, 4, 8]), max_size=6), st.integers(0, 255)),
)


def fewest(found):
    """By trying every cut, with every shift."""

    def is_one(part):
        return any(all(order == max(0, part[0] - (k >> shift)) for k, order in enumerate(part)) for shift in range(16))

    @cache
    def best(start):
        if start == len(found):
            return 0
        return 1 + min(best(end) for end in range(start + 1, len(found) + 1) if is_one(found[start:end]))

    return best(0)


@given(ORDERS.filter(bool))
def test_as_few_ranges_as_can_be(found):
    ranges = class_ranges((100 + k, 7, order) for k, order in enumerate(found))
    assert len(ranges) == fewest(tuple(found))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.sampled_from([0, 1, 2, 255])), max_size=40))
def test_the_device_gives_each_block_its_class_and_order_and_leaves_the_others(blocks):
    """Blocks that are not asked for lie between, and have a class of their own."""
    model = ReferenceModel(256)
    for block in range(len(blocks)):
        model.execute(Load(1, 0, 0, 32 * block, 32 * block + 31, BLOCK * block, hint=hint_of(9, 99)))
    asked = [(block, class_id, order) for block, (is_asked, class_id, order) in enumerate(blocks) if is_asked]
    for first, count, *hint in class_ranges(asked):
        assert model.execute(Class(BLOCK * first, BLOCK * count, *hint)).matched == count
    expected = [(class_id, order) if is_asked else (9, 99) for is_asked, class_id, order in blocks]
    assert [(entry["class"], entry["order"]) for entry in model.dump()] == expected


def test_a_prompt_of_one_class_is_one_range_and_the_rest_of_one_two():
    """A part of a prompt may begin in the middle of a level of equal orders."""
    for size in (1, 255, 256, 5000, 40_000):
        whole = [(block, 3, order) for block, order in enumerate(orders(size).tolist())]
        assert len(class_ranges(whole)) == 1
        assert len(class_ranges(whole[size // 3 :])) <= 2


def test_a_level_longer_than_a_range_can_have_is_cut():
    ranges = class_ranges((block, 3, 200) for block in range(100_000))
    assert sorted(count for _, count, *_ in ranges) == [100_000 - 3 * (1 << 15), *[1 << 15] * 3]
    assert {shift for *_, shift in ranges} == {15}
