"""The reference model's own machinery: what the rules (test_rules.py) cannot show from outside.

Grants against a plain loop, kept hashes against fresh ones, saving, adopting, the sparse memory, and that its layout of
entries and counters is the register map's.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import SessionError, UsageError
from kvfpga.device import regmap
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.model.block_memory import COLLECT_AT, BlockMemory
from kvfpga.model.digest import begun_hashes, ended_hashes, entry_hash
from kvfpga.model.ranking import rank, rank_accessed
from kvfpga.model.scoring import nearness, prefetch_grants, steps_between, weighted_sum, weighted_sum_accessed
from tests.helpers.places import DOCS

BLOCK = 16384
VA = 1 << 44


def loop_grants(evict, prefetch, free):
    granted = []
    for index in sorted([*evict, *prefetch]):
        if index in evict:
            free += 1
        else:
            granted.append(free > 0)
            free -= free > 0
    return granted


def test_r16_grants_are_those_of_a_loop_in_index_order():
    rng = random.Random(1)
    for _ in range(3000):
        kinds = rng.choices("ep-", weights=(rng.random(), rng.random(), 0.3), k=rng.randrange(40))
        evict = [i for i, kind in enumerate(kinds) if kind == "e"]
        prefetch = [i for i, kind in enumerate(kinds) if kind == "p"]
        free = rng.randrange(-12, 12)
        got = prefetch_grants(np.array(evict, np.intp), np.array(prefetch, np.intp), free)
        assert got.tolist() == loop_grants(set(evict), prefetch, free), (kinds, free)


# ---- a long random life ----------------------------------------------------------------------------------------------
def random_command(rng: random.Random, step: int, blocks: int):
    n, length = rng.randrange(blocks), rng.choice([1, BLOCK, 5 * BLOCK, 40 * BLOCK, 0])
    va = VA + n * BLOCK + rng.randrange(-BLOCK, BLOCK)
    key = (rng.randrange(4), 0, 0, 32 * n)
    target = step + rng.choice([0, 1, 100, 254, 255, 300, -1])
    here = VA + n * BLOCK
    return rng.choice([
        cmd.Load(*key, 32 * n + rng.randrange(33), here, rng.randrange(4)), cmd.Load(*key, 32 * n, here),
        cmd.Load(*key, 32 * n + 31, here), cmd.Step(max(0, step + rng.choice([0, 1, 1, 2, 60, -1]))),
        cmd.Hot(va, length), cmd.Evict(va, length), cmd.Prefetch(va, length, max(0, target)), cmd.Share(va, length),
        cmd.Release(va, length), cmd.ShareIndex(n), cmd.ReleaseIndex(n), cmd.Unload(va, length), cmd.Lookup(*key),
        cmd.Touch(*key), cmd.Set("T1_CAPACITY", rng.randrange(blocks)), cmd.UnloadRequest(rng.randrange(60)),
        cmd.Set("EVICT_THRESH", rng.choice([0, 700, 60000])), cmd.Set("PREFETCH_THRESH", rng.choice([200, 700, 60000])),
        cmd.Set("WEIGHT_R", rng.randrange(300)), cmd.Set("POLICY", rng.randrange(3)), cmd.Set("FILL_AGE", rng.randrange(300)),
        cmd.Set("PTABLE_COMMIT", rng.randrange(2)), cmd.Score(*key, n % 66, n % 3, rng.randrange(1 << 17)),
        cmd.Class(va, length, rng.randrange(257), rng.randrange(257), rng.randrange(17)),
        cmd.Load(*key, 32 * n + 31, here, rng.randrange(4), rng.randrange(1 << 17)),
    ])  # fmt: skip


def copy_of(model: ReferenceModel) -> ReferenceModel:
    copy = ReferenceModel(model.entries)
    copy.adopt(*model.read_entries(0, model.entries), model.settings(), model.telemetry(), model.tables)
    return copy


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_agrees_with_what_is_there(seed):
    """Hashes, counts, keys, free places and bytes, after each of 800 random commands."""
    rng, model, contents, written = random.Random(seed), ReferenceModel(256), {}, 0
    for _ in range(800):
        result = model.execute(random_command(rng, model.telemetry()["current_step"], 300))
        entries, telemetry = model.dump(), model.telemetry()
        if result.code == "OK" and result.index is not None and not result.phys_addr:  # a LOAD: give it bytes
            written += 1
            contents[result.index] = written.to_bytes(8, "little")
            model.memory_write(model.entry(result.index)["phys_addr"] + 100, contents[result.index])
        assert telemetry["valid_entries"] == len(entries)
        assert telemetry["t1_used"] == sum(e["tier"] == 1 for e in entries)
        assert telemetry["prefetch_triggers"] * BLOCK == telemetry["prefetch_bytes"]
        fresh = copy_of(model)
        assert model.digest() == fresh.digest() and fresh.dump() == entries
        middle = rng.randrange(257)
        assert (model.digest(0, middle) + model.digest(middle)) % (1 << 64) == model.digest()
        for e in entries:
            assert model.memory_read(e["phys_addr"] + 100, 8) == contents[e["index"]]
    assert len(entries) > 20 and telemetry["denials"] and telemetry["guards"] and telemetry["evict_triggers"]


# ---- layout ----------------------------------------------------------------------------------------------------------
def test_entries_are_packed_as_the_register_map_says():
    model = ReferenceModel(256)
    for n in range(4):
        model.execute(cmd.Load(0xABCD, 0x5A, 0xC3, n << 24, (n << 24) + 9, (1 << 64) - 1 - n, n))
    model.execute(cmd.Step(0x1_0003))
    model.execute(cmd.Hot((1 << 64) - 2, 1))
    model.execute(cmd.Prefetch((1 << 64) - 4, 1, 0xFEDC_BA98))
    model.execute(cmd.ShareIndex(2))
    raw, vas = model.read_entries(0, 256)
    assert raw.dtype == np.uint32 and raw.shape == (256, 8) and vas.dtype == np.uint64 and not raw[4:].any()
    for index in range(5):
        bits = int.from_bytes(raw[index].astype("<u4").tobytes(), "little")
        shown = {name: bits >> field.low & ((1 << field.width) - 1) for name, field in regmap.ENTRY_FIELDS.items()}
        shown["va"] = int(vas[index])
        assert shown == model.entry(index)
        assert {name: int(column[index]) for name, column in model.entries_array().items()} == shown


def test_r23_counters_are_those_of_the_register_map():
    """But for what only a clock or a bus can count."""
    of_hardware = {
        "busy_cycles", "last_command_cycles", "step_to_trigger_cycles", "index_overflows", "results_lost", "completions_lost",
        "dma_errors", "host_waits", "port0_waits", "port1_waits",
    }  # fmt: skip
    assert set(ReferenceModel(256).telemetry()) == set(regmap.TELEMETRY) - of_hardware


def test_settings_are_those_of_the_register_map():
    assert set(ReferenceModel(256).settings()) == {setting.name for setting in regmap.Setting} - {"CTRL"} | {"STRICT"}


@pytest.mark.parametrize(
    "parameters", [{"entries": 128}, {"entries": 300}, {"entries": 131072}, {"block_tokens": 33}, {"head_dim": 100}]
)
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(UsageError):
        ReferenceModel(**parameters)


def test_an_unknown_setting_is_refused():
    with pytest.raises(UsageError, match="NO_SUCH"):
        ReferenceModel(256).execute(cmd.Set("NO_SUCH", 1))


def test_r24_the_example_of_its_page():
    assert f"gives h = 0x{entry_hash(1, (1, 2, 3, 4, 5)):X}:" in (DOCS / "digest.md").read_text("utf-8")


@pytest.mark.parametrize("lo, hi", [(-1, 5), (5, 4), (0, 257)])
def test_digest_of_a_range_that_is_none(lo, hi):
    with pytest.raises(UsageError):
        ReferenceModel(256).digest(lo, hi)


# ---- files, sync, reset ----------------------------------------------------------------------------------------------
def lived_in(entries: int = 256) -> ReferenceModel:
    rng, model = random.Random(9), ReferenceModel(entries)
    model.execute(cmd.Set("EVICT_TIER", 3))
    model.execute(cmd.Set("TIER_BASE1", 1 << 50))
    for _ in range(400):
        model.execute(random_command(rng, model.telemetry()["current_step"], 200))
    model.memory_write((1 << 50) + 3 * BLOCK - 5, bytes(range(200)))
    model.memory_write((1 << 64) - 10, b"end")
    model.write_query(63, np.arange(128, dtype=np.uint16))
    return model


def everything(model: ReferenceModel):
    return model.dump(), model.digest(), model.telemetry(), model.settings(), model.tables.tobytes(), model.queries.tobytes()


def test_a_saved_model_goes_on_where_it_was(tmp_path):
    model = lived_in()
    model.save(tmp_path / "state")
    copy = ReferenceModel(256)
    copy.load(tmp_path / "state")
    assert everything(copy) == everything(model)
    assert copy.memory_read((1 << 50) + 3 * BLOCK - 5, 200) == bytes(range(200))
    assert copy.memory_read((1 << 64) - 10, 3) == b"end"
    rng = random.Random(4)
    for _ in range(200):
        command = random_command(rng, model.telemetry()["current_step"], 200)
        assert copy.execute(command) == model.execute(command)
    assert everything(copy) == everything(model)


def test_a_file_of_other_parameters_is_refused(tmp_path):
    ReferenceModel(512).save(tmp_path / "state")
    with pytest.raises(SessionError, match="512"):
        ReferenceModel(256).load(tmp_path / "state")


def test_a_file_of_a_model_without_the_compute_engine_is_refused(tmp_path):
    ReferenceModel(256, nmce=False).save(tmp_path / "state")
    with pytest.raises(SessionError, match="nmce"):
        ReferenceModel(256).load(tmp_path / "state")


@pytest.mark.parametrize("damage", ["absent", "empty", "text", "cut"])
def test_a_damaged_file_is_refused_and_changes_nothing(tmp_path, damage):
    path, model = tmp_path / "state", lived_in()
    before = everything(model)
    if damage == "cut":
        ReferenceModel(256).save(path)
        path.write_bytes(path.read_bytes()[:-100])
    elif damage != "absent":
        path.write_bytes(b"" if damage == "empty" else b"hello")
    with pytest.raises(SessionError, match="state"):
        model.load(path)
    assert everything(model) == before


def test_adopt_takes_a_short_read_back_and_device_only_counters():
    model = lived_in()
    used = max(e["index"] for e in model.dump()) + 1
    copy = ReferenceModel(256)
    copy.execute(cmd.Load(9, 9, 9, 0, 0, 0))
    telemetry = {**model.telemetry(), "busy_cycles": 7}
    copy.adopt(*model.read_entries(0, used), model.settings(), telemetry, model.tables, model.queries)
    assert everything(copy) == everything(model)


def test_adopt_leaves_queries_that_it_is_not_given():
    model, copy = lived_in(), lived_in()
    copy.queries[:] += 1
    copy.adopt(*model.read_entries(0, 256), model.settings(), model.telemetry(), model.tables)
    assert everything(copy)[:-1] == everything(model)[:-1] and (copy.queries == model.queries + 1).all()


def test_reset_empties_the_tables_and_keeps_the_bytes_and_the_queries():
    model, fresh = lived_in(), ReferenceModel(256)
    model.reset()
    fresh.queries[63] = np.arange(128)
    assert everything(model) == everything(fresh)
    assert model.memory_read((1 << 64) - 10, 3) == b"end"


def test_block_content_is_the_slot_whether_or_not_a_block_lives_there():
    model = ReferenceModel(256)
    model.execute(cmd.Load(1, 0, 0, 0, 31, VA))
    model.memory_write(256 * BLOCK, b"x" * BLOCK)
    model.execute(cmd.Evict(VA, 1))
    assert model.block_content(1, 0) == model.block_content(2, 0) == b"x" * BLOCK
    assert model.block_content(3, 255) == bytes(BLOCK)


# ---- memory ----------------------------------------------------------------------------------------------------------
def test_section2_memory_holds_what_was_written_wherever_it_was():
    """Against a dictionary of bytes: small and large pieces, over page edges, near both ends of the address space."""
    rng, memory, plain = random.Random(2), BlockMemory(256), {}
    for _ in range(500):
        base = rng.choice([0, 1000, (1 << 24) - 500, 1 << 40, (1 << 64) - 1500])
        addr, size = base + rng.randrange(700), rng.randrange(800)
        if rng.random() < 0.5:
            data = bytes(size) if rng.random() < 0.2 else rng.randbytes(size)
            memory.write(addr, data)
            plain.update(zip(range(addr, addr + size), data))
        assert memory.read(addr, size) == bytes(plain.get(a, 0) for a in range(addr, addr + size))


@pytest.mark.parametrize("addr, size", [((1 << 64) - 1, 2), (1 << 64, 1), (-1, 1)])
def test_section2_memory_ends_at_64_bits(addr, size):
    with pytest.raises(UsageError, match="address space"):
        BlockMemory(256).read(addr, size)
    with pytest.raises(UsageError, match="address space"):
        BlockMemory(256).write(addr, b"x" * size)


def test_a_copy_is_not_an_alias():
    memory = BlockMemory(256)
    memory.write(0, b"a" * 256)
    memory.copy(np.array([0, 512], np.uint64), np.array([256, 0], np.uint64))
    assert memory.read(256, 256) == b"a" * 256 and memory.read(0, 256) == bytes(256)
    memory.write(256, b"b")
    assert memory.read(256, 2) == b"ba"


def test_contents_that_no_page_holds_are_forgotten():
    memory = BlockMemory(256)
    for i in range(20 * COLLECT_AT):
        memory.write(256 * (i % 50), i.to_bytes(4, "little"))
        memory.copy(np.array([256 * (i % 50)], np.uint64), np.array([1 << 30], np.uint64))
    assert len(memory._contents) <= COLLECT_AT
    for i in range(50):
        assert memory.read(256 * ((20 * COLLECT_AT - 1 - i) % 50), 4) == (20 * COLLECT_AT - 1 - i).to_bytes(4, "little")


# ---- one entry in plain integers, many as arrays -------------------------------------------------------------------
@given(
    st.integers(0, 255), st.integers(0, 255), st.booleans(), st.integers(0, (1 << 32) - 1),
    st.lists(st.integers(0, 255), min_size=5, max_size=5),
)  # fmt: skip
def test_r14_an_entry_accessed_now_scores_as_among_many(R, F, prefix, step, settings):
    settings = dict(zip(("WINDOW", "WEIGHT_R", "WEIGHT_F", "WEIGHT_S", "WEIGHT_D"), settings))
    S = nearness(steps_between(np.array([step], np.uint32), step), settings["WINDOW"])
    P = weighted_sum(S, np.array([R], np.uint8), np.array([F], np.uint8), np.array([prefix]), settings)
    assert weighted_sum_accessed(R, F, prefix, settings) == P[0]


@given(st.integers(0, 0xFFFF), st.integers(0, (1 << 32) - 1))
def test_r44_an_entry_accessed_now_ranks_as_among_many(hint, step):
    table = np.random.default_rng(1).integers(0, 256, (256, 64)).astype(np.uint8)
    P = rank(steps_between(np.array([step], np.uint32), step), np.array([hint], np.uint16), table)
    assert rank_accessed(hint, table) == P[0]


@given(st.integers(0, 65535), st.lists(st.integers(0, (1 << 64) - 1), min_size=5, max_size=5))
def test_r24_an_entry_hashes_as_among_many(index, words):
    first, later = ([np.array([word], np.uint64) for word in part] for part in (words[:2], words[2:]))
    many = ended_hashes(begun_hashes(np.array([index], np.uint64), tuple(first)), tuple(later))
    assert entry_hash(index, tuple(words)) == many[0]


@pytest.mark.parametrize("count", [1, 8, 9, 100])
def test_r24_few_changes_and_many_give_one_digest(count):
    """Of a directory with every kind of field in use, whose hashes were kept, and of the same one read anew."""
    model = ReferenceModel(256)
    for n in range(120):
        model.execute(cmd.Load(n % 3, n % 2, 0, 32 * n, 32 * n + 31, (1 << 63) + 16384 * n, n % 4))
    model.execute(cmd.Set("TIER_BASE3", 0))  # refused: there are blocks
    model.execute(cmd.Prefetch((1 << 63), 16384 * 120, 1 << 31))
    model.digest()
    for n in range(count):
        model.execute(cmd.ShareIndex(n))
        model.execute(cmd.Touch(n % 3, n % 2, 0, 32 * n))
        model.execute(cmd.Hot((1 << 63) + 16384 * n, 1))
    fresh = ReferenceModel(256)
    fresh.adopt(*model.read_entries(0, 256), model.settings(), model.telemetry(), model.tables)
    assert model.digest() == fresh.digest()
