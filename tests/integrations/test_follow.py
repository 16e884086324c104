"""Following a publisher of KV-cache events: wire format, order, gaps, losses, and what the directory holds in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading

import msgspec
import pytest

from kvfpga.contract.commands import Load, Unload
from kvfpga.contract.errors import DeviceRefused, DifferenceError, TargetError, UsageError
from kvfpga.device.device import Device
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.integrations.vllm import events as kv_events
from kvfpga.integrations.vllm.events import Cleared, Message, Removed, Stored, Unread, WireError
from kvfpga.integrations.vllm.follow import Follower, SeveralEngines, rank_endpoint
from kvfpga.integrations.vllm.mirror import VA_BASE, Mirror
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.lockstep.reference import Reference
from tests.helpers.command_line import run
from tests.helpers.fake_device import FakeDevice
from tests.helpers.kv_publisher import FORMS, REPLIES, Cache, Publisher, cleared, encode, removed, stored

pytestmark = pytest.mark.timeout(300)
SLOT = 16384


def model(entries=256) -> Reference:
    return Reference(ReferenceModel(entries))


def in_tier_1(mirror: Mirror) -> set:
    """The hashes of the blocks that lie in tier 1, by the directory alone and the addresses that the mirror gave them."""
    at = {mirror.va(key): key for key in mirror.blocks}
    return {at.get(entry["va"], entry["va"]) for entry in mirror.device.dump() if entry["tier"] == 1}


def follow_to_the_end(follower: Follower, publisher: Publisher) -> None:
    publisher.wait_until_sent()
    while follower.next != publisher.seq:
        if not follower.poll(0.05):
            follower.catch_up()  # what `run` does after some idle time


def keep_pace(follower: Follower, publisher: Publisher) -> None:
    """So that gaps are seen one by one, and not all closed by the first replay."""
    publisher.wait_until_sent()
    while follower.next < publisher.sent:
        follower.poll(1.0)


# ---- wire format -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [-1, (1 << 64) - 1, b"\x07" * 32], ids=["signed", "unsigned", "bytes"])
def test_every_form_says_the_same(form, name):
    events = [stored([name, 5], parent=name, size=16, group_idx=2), removed([name], "CPU"), cleared()]
    same = name if isinstance(name, bytes) else (1 << 64) - 1  # modulo 2^64
    found = kv_events.decode(encode(events, form, ts=2.5, rank=3))
    assert found == ([Stored([same, 5], same, 16, "GPU", 2), Removed([same], "CPU", 0), Cleared()], 3, 2.5)


def test_bytes_of_a_release_are_read():
    """A batch as documented for vLLM 0.9, byte by byte: no medium, no rank."""
    payload = bytes.fromhex(
        "92 cb3ff0000000000000 92 96ab426c6f636b53746f726564 92010a c0 920304 02 c0 92ac426c6f636b52656d6f766564 9101"
    )
    assert kv_events.decode(payload) == ([Stored([1, 10], None, 2, "GPU", 0), Removed([1], "GPU", 0)], None, 1.0)


def test_what_newer_releases_add_is_skipped():
    more = {"kv_cache_spec_kind": "full_attention", "session_id": "x", "extra_keys": [None, ["salt"]], "lora_name": "a"}
    for form in FORMS[1:]:
        found = kv_events.decode(encode([stored([1], **more), removed([1], ownership=None)], form))
        assert found == ([Stored([1], None, 16, "GPU", 0), Removed([1], "GPU", 0)], 0, 1.0)
    many = {f"field_{number}": number for number in range(40)}  # a map of 16 fields or more is written in another way
    assert kv_events.decode(encode([stored([1], **many)], "maps in arrays")).events == [Stored([1], None, 16, "GPU", 0)]
    longer = [1.0, [["BlockRemoved", [1], "GPU", 0, "new"], ["BlockInactive", [1]]], 0, "new"]
    found = kv_events.decode(msgspec.msgpack.encode(longer)).events
    assert found == [Removed([1], "GPU", 0), Unread("BlockInactive", frozenset())]


@pytest.mark.parametrize("missing", ["parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name"])
def test_what_is_not_used_may_be_missing(missing):
    event = stored([1, 2])
    del event[missing]
    assert kv_events.decode(encode([event])).events == [Stored([1, 2], None, 0 if missing == "block_size" else 16, "GPU", 0)]
    assert kv_events.decode(msgspec.msgpack.encode([None, [["BlockStored", [1]]]])).events == [Stored([1], None, 0, "GPU", 0)]


def test_what_events_say_beyond_blocks():
    remote = stored([1], origin="NEW", locality="REMOTE")
    events = [stored([1], origin="REUSED"), remote, removed([1, 2], remaining_copy_counts=[3, 0])]
    assert kv_events.decode(encode(events)).events == [
        Stored([1], None, 16, "GPU", 0, reused=True), Stored([1], None, 16, "GPU", 0, remote=True),
        Removed([1, 2], "GPU", 0, remaining=[3, 0]),
    ]  # fmt: skip
    for wrong in ([1], [1, -1], [1, "x"], 5, [1, 1 << 60]):
        assert kv_events.decode(encode([removed([1, 2], remaining_copy_counts=wrong)])).events == [Removed([1, 2], "GPU", 0)]
    clears = [cleared(), cleared(medium="cpu"), {"type": "TierBlocksCleared", "medium": "GPU"}, cleared(ownership="kvcr")]
    found = [Cleared(), Cleared("CPU"), Cleared("GPU"), Cleared(partly=True)]
    assert kv_events.decode(encode(clears)).events == found


@pytest.mark.parametrize("ts", [None, "noon", True, float("nan"), float("inf"), 1 << 200, -1e300, {"s": 5}])
def test_a_time_that_is_none(ts):
    found = kv_events.decode(msgspec.msgpack.encode([ts if ts != 1 << 200 else float(ts), [removed([1])], 0]))
    assert found == ([Removed([1], "GPU", 0)], 0, 1.0 if ts is True else None)


MALFORMED = {
    "nothing": b"",
    "not msgpack": b"\xc1",
    "cut short": encode([stored([1])])[:-3],
    "more behind it": encode([stored([1])]) + b"\x00",
    "a number": msgspec.msgpack.encode(5),
    "no events": msgspec.msgpack.encode([1.0]),
    "nested": b"\x92\xcb" + bytes(8) + b"\x91" * 200_000,
    "JSON": json.dumps({"ts": 1, "events": []}).encode(),
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_batches(payload):
    with pytest.raises(WireError, match="not a batch of KV-cache events"):
        kv_events.decode(payload)


UNREAD = {
    "no event at all": 7,
    "an event without kind": {},
    "a kind that is no text": [3],
    "no hashes": ["BlockStored"],
    "a hash that is text": ["BlockRemoved", ["a"]],
    "an empty hash": removed([b""]),
    "a hash of 65 bytes": removed([b"x" * 65]),
    "a negative block size": stored([1]) | {"block_size": -1},
    "a block size of 33 bits": stored([1]) | {"block_size": 1 << 32},
    "a group of 33 bits": removed([1], group_idx=1 << 32),
    "a medium that is no text": removed([1], medium=5),
    "a tier without a name": {"type": "TierBlocksCleared"},
    "a kind that is not known": {"type": "BlockInactive", "block_hashes": [1]},
    "one that leaves": {"type": "BlockTransferred", "block_hashes": [1], "from": "GPU", "to": "CPU"},
}
"""Events after which nobody knows what tier GPU holds."""


@pytest.mark.parametrize("event", UNREAD.values(), ids=UNREAD.keys())
def test_an_event_that_is_not_understood_empties_the_mirror(event):
    mirror = Mirror(model())
    apply(mirror, stored([1, 2]))
    payload = msgspec.msgpack.encode([1.0, [stored([3]), event, stored([4])], 0])
    mirror.apply(kv_events.decode(payload))
    assert set(mirror.blocks) == {(0, 4)} and not mirror.complete and mirror.counts.unread == 1 and mirror.verify() == 1
    apply(mirror, cleared(), stored([5]))
    assert set(mirror.blocks) == {(0, 5)} and mirror.complete


@pytest.mark.parametrize(
    "event",
    [
        {"type": "BlockTransferred", "block_hashes": [1], "from": "CPU", "to": "FS"},
        {"type": "TierBlocksEvicted", "medium": "cpu"},
        stored(["text"], medium="CPU"),
        ["BlockStored", ["text"], None, [], 16, None, "CPU"],
        ["BlockRemoved", ["text"], "CPU"],
        cleared(medium="CPU"),
        {"type": "TierBlocksCleared", "medium": "CPU"},
    ],
    ids=lambda event: str(event)[:40],
)
def test_what_is_about_another_medium_costs_nothing(event):
    mirror = Mirror(model())
    apply(mirror, stored([1, 2]))
    mirror.apply(kv_events.decode(msgspec.msgpack.encode([1.0, [event], 0])))
    assert set(mirror.blocks) == {(0, 1), (0, 2)} and mirror.complete
    assert (mirror.counts.other_medium, mirror.counts.unread, mirror.counts.cleared) == (1, 0, 0)


def test_mutated_batches_are_read_or_refused():
    r = random.Random(5)
    whole = [encode([stored([1, b"x" * 8], parent=4), removed([2]), cleared()], form) for form in FORMS]
    refused = unread = 0
    for _ in range(3000):
        payload = bytearray(r.choice(whole))
        for _ in range(r.randint(1, 4)):
            payload[r.randrange(len(payload))] = r.randrange(256)
        try:
            unread += any(isinstance(event, Unread) for event in kv_events.decode(bytes(payload)).events)
        except WireError:
            refused += 1
    assert refused > 300 and unread > 300 and refused + unread < 3000


def test_frames():
    seq = (7).to_bytes(8, "big")
    assert kv_events.split([b"topic", seq, b"x"]) == Message(b"topic", 7, b"x")
    assert kv_events.split_reply([b"", seq, b"x"]) == Message(None, 7, b"x")
    assert kv_events.split_reply([b"", b"topic", seq, b"x"]) == Message(b"topic", 7, b"x")
    assert kv_events.split_reply([b"", b"", seq, b"x"]) == Message(None, 7, b"x")
    assert kv_events.split_reply([b"", b"\xff" * 8, b""]) is kv_events.split_reply([b"", b"", b"\xff" * 8, b""]) is None
    for frames in ([], [b"t", seq], [b"t", seq[1:], b"x"], [b"t", seq, b"x", b"y"]):
        with pytest.raises(WireError):
            kv_events.split(frames)
        with pytest.raises(WireError):
            kv_events.split_reply(frames)


def test_ranks_have_ports_of_their_own():
    assert rank_endpoint("tcp://host:5557", 0) == "tcp://host:5557"
    assert rank_endpoint("tcp://host:5557", 3) == "tcp://host:5560"
    assert rank_endpoint("inproc://x", 3) == "inproc://x_dp3"
    for endpoint in ("ipc:///tmp/x", "tcp://host", "tcp://host:65535"):
        with pytest.raises(UsageError, match="rank 1"):
            rank_endpoint(endpoint, 1)


# ---- the mirror ------------------------------------------------------------------------------------------------------


def apply(mirror: Mirror, *events: dict) -> None:
    mirror.apply(kv_events.decode(encode(list(events))))
    mirror.flush()


def test_stored_shared_removed_cleared():
    mirror = Mirror(model())
    apply(mirror, stored([10, 11, 12]), stored([13], parent=12), stored([20], size=64), stored([11], parent=10))
    entries = mirror.device.dump()
    assert [(e["request_id"], e["token_start"], e["token_end"], e["ref_count"], e["tier"]) for e in entries] == [
        (1, 0, 15, 0, 1), (1, 32, 47, 1, 1), (1, 64, 79, 0, 1), (1, 96, 111, 0, 1), (2, 0, 31, 0, 1)
    ]  # fmt: skip
    assert mirror.verify() == 5 and mirror.blocks == {(0, 10): 1, (0, 11): 2, (0, 12): 1, (0, 13): 1, (0, 20): 1}

    apply(mirror, removed([11, 12]))  # one copy of 11 remains
    assert in_tier_1(mirror) == {(0, 10), (0, 11), (0, 13), (0, 20)} and mirror.verify() == 4
    apply(mirror, removed([11, 99]))
    assert in_tier_1(mirror) == {(0, 10), (0, 13), (0, 20)} and mirror.counts.strays == 1
    assert mirror.device.telemetry()["evict_triggers"] == 2 and mirror.device.telemetry()["valid_entries"] == 5

    apply(mirror, stored([12], parent=11))  # back from the lower tier
    assert in_tier_1(mirror) == {(0, 10), (0, 12), (0, 13), (0, 20)} and mirror.counts.returns == 1
    assert mirror.device.telemetry()["hits_t2"] == 1
    apply(mirror, stored([10]), cleared(), stored([30]))
    assert in_tier_1(mirror) == {(0, 30)} and mirror.device.telemetry()["valid_entries"] == 1
    assert mirror.verify() == 1


def test_groups_media_and_copies_that_do_not_count():
    mirror = Mirror(model(), count_copies=False)
    apply(mirror, stored([1], group_idx=0), stored([1], group_idx=1), stored([2], medium="CPU"), removed([1], medium="CPU"))
    assert set(mirror.blocks) == {(0, 1), (1, 1)} and mirror.counts.other_medium == 2
    apply(mirror, stored([1], group_idx=1), stored([1], group_idx=1), removed([1], group_idx=1))
    assert set(mirror.blocks) == {(0, 1)} and mirror.counts.strays == 0
    assert mirror.device.telemetry()["hits_t1"] == 2 and mirror.verify() == 1
    other = Mirror(model(), medium="CPU")
    apply(other, stored([1]), stored([2], medium="CPU"))
    assert set(other.blocks) == {(0, 2)}


def test_media_by_any_case_and_strange_ones():
    mirror = Mirror(model(), medium="gpu")
    apply(mirror, stored([1], medium="Gpu"), stored([2], medium="CPU_PINNED"))
    assert set(mirror.blocks) == {(0, 1)} and mirror.complete
    apply(mirror, stored([3], medium="cuda"))  # a new name for the GPU, or not
    assert mirror.summary()["other_media"] == ["CPU_PINNED", "CUDA"] and not mirror.complete
    cpu = Mirror(model(), medium="CPU")
    apply(cpu, stored([1], medium="CPU"), cleared())  # vLLM says so of the GPU alone, too
    assert cpu.blocks == {} and not cpu.complete
    apply(cpu, cleared(medium="CPU"))
    assert cpu.complete


def test_part_of_a_tier_is_cleared():
    mirror = Mirror(model())
    apply(mirror, stored([1]), {"type": "TierBlocksCleared", "medium": "GPU", "ownership": "kvcr"})
    assert mirror.blocks == {} and not mirror.complete


def test_a_block_goes_that_never_came():
    mirror = Mirror(model())
    apply(mirror, stored([1, 2]), removed([2]))
    assert mirror.complete
    apply(mirror, removed([3]))
    assert not mirror.complete and mirror.counts.strays == 1


def test_reused_blocks_are_no_copies():
    """kv_cache_report_mode "full", from a publisher that says so."""
    mirror = Mirror(model())
    apply(mirror, stored([1, 2], origin="NEW"), stored([1, 2], origin="REUSED"), stored([3], origin="REUSED"))
    assert mirror.blocks == {(0, 1): 1, (0, 2): 1, (0, 3): 1} and mirror.device.telemetry()["hits_t1"] == 2
    apply(mirror, removed([1, 2, 3]))
    assert mirror.blocks == {} and mirror.complete and mirror.verify() == 0


def test_the_publisher_says_how_many_copies_are_left():
    mirror = Mirror(model())
    apply(mirror, *[stored([1, 2])] * 4, stored([3]))  # but some of these were reports of reuse
    apply(mirror, removed([1, 2, 3], remaining_copy_counts=[1, 0, 2]))
    assert mirror.blocks == {(0, 1): 1, (0, 3): 2} and mirror.verify() == 2
    assert {entry["ref_count"] for entry in mirror.device.dump() if entry["tier"] == 1} == {0, 1}


def test_more_copies_than_the_device_counts():
    mirror = Mirror(model())
    apply(mirror, *[stored([1])] * 300)
    assert mirror.device.dump()[0]["ref_count"] == 255 and mirror.verify() == 1
    apply(mirror, *[removed([1])] * 299)
    assert mirror.device.dump()[0]["ref_count"] == 0 and mirror.verify() == 1
    apply(mirror, removed([1]))
    assert mirror.blocks == {} and in_tier_1(mirror) == set()
    telemetry = mirror.device.telemetry()
    assert telemetry["release_refusals"] == telemetry["saturations"] == telemetry["guards"] == 0


def test_full_directory():
    mirror = Mirror(model())
    apply(mirror, stored(range(256)), removed([3, 4]), stored([300]))  # 300 takes the place of 3, 4 is still there
    assert mirror.device.telemetry()["valid_entries"] == 256 and mirror.verify() == 255
    apply(mirror, stored([4]), stored([400, 401]), stored([401]))
    assert mirror.waiting == {(0, 400): 1, (0, 401): 2} and mirror.verify() == 256 and mirror.counts.returns == 1
    apply(mirror, removed([0]), removed([400]), removed([1]))  # 400 got in for 0 and went, so 401 does for that
    assert mirror.waiting == {} and mirror.blocks[0, 401] == 2 and mirror.verify() == 254 + 1
    apply(mirror, stored(range(500, 510)), removed([505]), removed([505]))
    assert (0, 505) not in {**mirror.waiting, **mirror.blocks} and mirror.counts.strays == 1


def test_window_is_emptied_and_other_blocks_stay():
    device = model()
    device.execute(Load(9, 0, 0, 0, 31, 0x1000))
    apply(Mirror(device), stored([1, 2]), stored([1]))
    mirror = Mirror(device)
    assert [entry["request_id"] for entry in device.dump()] == [9] and mirror.capacity == 255
    apply(mirror, stored(range(255)), cleared())
    assert [entry["request_id"] for entry in device.dump()] == [9]


def test_somebody_else_changes_the_directory():
    mirror = Mirror(model())
    apply(mirror, stored([1, 2]))
    mirror.device.execute(Unload(mirror.va((0, 2)), 1))
    with pytest.raises(DifferenceError, match="no entry"):
        mirror.verify()
    with pytest.raises(DeviceRefused, match="`evict .*ERR_NOT_FOUND.*not as the mirror left it"):
        apply(mirror, removed([2]))
    mirror = Mirror(model())
    mirror.device.execute(Load(9, 0, 0, 0, 31, VA_BASE + SLOT))
    with pytest.raises(DifferenceError, match="was not mirrored"):
        mirror.verify()


def test_steps_and_a_small_t1():
    device = model()
    from kvfpga.contract.commands import Set

    device.execute(Set("T1_CAPACITY", 4))
    mirror = Mirror(device, step_every=2)
    for name in range(9):
        apply(mirror, stored([name]))
    assert device.telemetry()["current_step"] == 4 and mirror.verify() == 9
    assert device.telemetry()["t1_used"] <= 4


# ---- following -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replies", REPLIES)
@pytest.mark.parametrize(
    "form,hashes,count", [("arrays", "int", 10_000), ("maps in arrays", "int", 3_000), ("maps", "bytes", 3_000)]
)
def test_thousands_of_events_with_one_percent_lost(form, hashes, count, replies):
    cache = Cache(seed=7, size=900, hashes=hashes, clear=0.0001)
    mirror = Mirror(model(2048))
    publisher = Publisher(form, lose=0.01, seed=2, replies=replies)
    with publisher, Follower(publisher.endpoint, mirror, publisher.replay) as f:
        publisher.wait_for_subscriber()
        events = 0
        while events < count:
            number = min(cache.random.randint(1, 4), count - events)
            publisher.publish(cache.batch(number))
            events += number
            if cache.random.random() < 0.02:
                keep_pace(f, publisher)
        follow_to_the_end(f, publisher)
        assert f.counts.events == count and f.counts.lost == f.counts.malformed == f.counts.restarts == 0
        assert publisher.lost > count / 500 and f.counts.gaps > count / 1000 and f.counts.replayed >= publisher.lost
        assert f.mirror.blocks == cache.truth and len(cache.truth) > 200 and f.complete
        assert in_tier_1(f.mirror) == set(cache.truth)
        assert f.mirror.verify() == len(cache.truth)
        assert min(f.mirror.counts.shares, f.mirror.counts.returns, f.mirror.counts.releases) > count / 100


def test_in_lockstep_with_the_rtl(lockstep):
    cache = Cache(seed=1, size=300)  # more than the directory holds, at times
    with Publisher(lose=0.05, seed=4) as publisher, Follower(publisher.endpoint, Mirror(lockstep), publisher.replay) as f:
        publisher.wait_for_subscriber()
        for number in range(400):
            publisher.publish(cache.batch(3))
            if number % 40 == 0:
                keep_pace(f, publisher)
        follow_to_the_end(f, publisher)
        assert f.counts.gaps > 3 and f.counts.lost == 0
        assert f.mirror.blocks | f.mirror.waiting == cache.truth
        assert f.mirror.verify() > 100 and lockstep.checks > 0


def test_hardware_that_differs_is_noticed():
    fake = FakeDevice()
    mirror = Mirror(Lockstep(Device(fake), ReferenceModel(256)))
    apply(mirror, stored([1, 2]))
    fake.model.execute(Unload(mirror.va((0, 1)), 1))
    with pytest.raises(DifferenceError):
        apply(mirror, stored([3]))


def test_latecomer_gets_what_was_before():
    with Publisher() as publisher:
        publisher.publish([stored([1, 2, 3])])
        publisher.publish([removed([2])])
        publisher.wait_until_sent()
        with Follower(publisher.endpoint, Mirror(model()), publisher.replay) as f:
            f.run(count=2)
            assert set(f.mirror.blocks) == {(0, 1), (0, 3)} and f.mirror.complete and f.counts.lost == 0


def test_end_of_the_stream_lost():
    """No later number shows it; the replay is asked after a while of silence."""
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model()), publisher.replay) as f:
        publisher.wait_for_subscriber()
        threading.Timer(0.3, lambda: (publisher.publish([stored([1])]), publisher.publish([stored([2])], lose=True))).start()
        f.run(count=2, patience=60)
        assert set(f.mirror.blocks) == {(0, 1), (0, 2)} and f.counts.gaps == 0 and f.counts.replayed == 1


def test_replay_is_asked_for_the_gap_alone():
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model()), publisher.replay) as f:
        publisher.wait_for_subscriber()
        for name in range(20):
            publisher.publish([stored([name])], lose=name in (7, 8, 15))
            keep_pace(f, publisher)
        assert publisher.requests == 2 and f.counts.gaps == 2 and f.counts.missing == f.counts.replayed - 2 == 3
        assert f.counts.batches == 20 and set(f.mirror.blocks) == {(0, name) for name in range(20)}


@pytest.mark.parametrize("with_replay", [True, False])
def test_what_no_replay_has_is_told_as_lost(with_replay):
    notes = []
    with Publisher(buffer_steps=5) as publisher:
        replay = publisher.replay if with_replay else None
        with Follower(publisher.endpoint, Mirror(model()), replay, say=notes.append) as f:
            publisher.wait_for_subscriber()
            for name in range(4):
                publisher.publish([stored([name])])
            publisher.wait_until_sent()
            while f.next < 4:
                f.poll(0.1)
            for name in range(10, 30):
                publisher.publish([stored([name])], lose=name < 29)
            publisher.publish([removed([2, 12, 29])], lose=False)
            publisher.wait_until_sent()
            while f.next < publisher.seq:
                f.poll(0.1)
            assert not f.mirror.complete and f.mirror.verify() == len(f.mirror.blocks)
            if with_replay:  # the last five: 26 to 29, and the removal
                assert f.counts.lost_ranges == [(4, 19)] and set(f.mirror.blocks) == {(0, 26), (0, 27), (0, 28)}
                assert "batches 4 to 19 are lost, the server's buffer does not reach back" in notes[-1]
            else:
                assert f.counts.lost_ranges == [(4, 22)] and f.mirror.blocks == {}
                assert "batches 4 to 22 are lost, no replay has them" in notes[-1]
            publisher.publish([cleared(), stored([50])])
            follow_to_the_end(f, publisher)
            assert f.mirror.complete and set(f.mirror.blocks) == {(0, 50)}


@pytest.mark.parametrize("overtaken,with_replay", [(20, True), (10, True), (0, True), (0, False)])
def test_server_begins_anew(overtaken, with_replay):
    """A number goes back; with a replay, also where the new server has overtaken the old one, or is at the number expected."""
    notes = []
    with Publisher() as old:
        endpoint, replay = old.endpoint, old.replay
        f = Follower(endpoint, Mirror(model()), replay if with_replay else None, say=notes.append)
        old.wait_for_subscriber()
        for name in range(10):
            old.publish([stored([name])])
        follow_to_the_end(f, old)
    with f, Publisher(endpoint=endpoint, replay=replay) as new:
        before = range(100, 100 + overtaken)
        for name in before:
            new.publish([stored([name])], lose=True)
        new.wait_until_sent()
        while not new.has_subscriber:
            f.poll(0.01)  # libzmq subscribes anew within a call of the socket's
        new.publish([stored([200])])
        new.wait_until_sent()
        while f.next != new.seq or f.counts.batches == 10:
            f.poll(0.05)
        assert f.counts.restarts == 1 and "begun anew" in notes[0]
        assert set(f.mirror.blocks) == {(0, name) for name in (*before, 200)} and f.mirror.complete
        assert f.mirror.verify() == overtaken + 1


def test_new_server_where_a_replayed_batch_could_still_come():
    """Its number is one of those, its contents are not."""
    with Publisher() as old:
        f = Follower(old.endpoint, Mirror(model()), old.replay)
        for name in range(10):
            old.publish([stored([name])], lose=True)
        old.wait_until_sent()
        f.catch_up()
        f.poll(0.05)
    with f:
        f.replay = None
        f._take([b"kv-events", (3).to_bytes(8, "big"), encode([stored([3])], ts=7.0)])
        assert f.counts.restarts == 1 and f.counts.lost_ranges == [(0, 2)] and set(f.mirror.blocks) == {(0, 3)}


def test_new_server_without_news():
    """It has fewer batches than the old one had, so nothing answers from the expected number on."""
    with Publisher() as old:
        f = Follower(old.endpoint, Mirror(model()), old.replay)
        for name in range(10):
            old.publish([stored([name])])
        follow_to_the_end(f, old)
        endpoint, replay = old.endpoint, old.replay
    with f, Publisher(endpoint=endpoint, replay=replay) as new:
        new.publish([stored([77])], lose=True)
        new.wait_until_sent()
        f.catch_up()
        assert f.counts.restarts == 1 and set(f.mirror.blocks) == {(0, 77)}


def test_holes_in_the_replay_are_asked_for_again(monkeypatch):
    """A ROUTER drops what a full pipe does not take."""
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model()), publisher.replay) as f:
        ask, dropped = f._ask, []

        def leaky(start):
            for message, batch in ask(start):
                if message.seq == 5 and not dropped:
                    dropped.append(message.seq)
                else:
                    yield message, batch

        monkeypatch.setattr(f, "_ask", leaky)
        for name in range(10):
            publisher.publish([stored([name])], lose=True)
        publisher.wait_until_sent()
        f.catch_up()
        assert dropped and f.counts.lost == 0 and len(f.mirror.blocks) == 10


def test_malformed_messages_do_not_stop_it():
    notes = []
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model()), publisher.replay, say=notes.append) as f:
        publisher.wait_for_subscriber()
        publisher.publish([stored([1])])
        for frames in ([b"kv-events"], [b"kv-events", b"123", b"x"], [b"kv-events", bytes(8), b"x", b"y"]):
            publisher.send_frames(*frames)
        publisher.publish([stored([2])])
        follow_to_the_end(f, publisher)
        assert f.counts.malformed == 3 and f.counts.lost == 0 and f.complete
        for payload in MALFORMED.values():
            publisher.publish_raw(payload)
        publisher.publish([stored([3])])
        follow_to_the_end(f, publisher)
        assert f.counts.malformed == 3 + len(MALFORMED) and f.counts.lost == len(MALFORMED)
        assert set(f.mirror.blocks) == {(0, 3)} and not f.complete and f.mirror.verify() == 1
        assert any("not a batch of KV-cache events" in note for note in notes) and any("further ones" in note for note in notes)


def test_events_that_are_not_understood_are_counted_and_said():
    notes = []
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model()), publisher.replay, say=notes.append) as f:
        publisher.wait_for_subscriber()
        publisher.publish([stored([1])])
        publisher.publish([{"type": "TierShrunk", "medium": "CPU"}, stored(["x"], medium="CPU")])
        follow_to_the_end(f, publisher)
        assert (f.counts.unknown, f.counts.malformed, f.counts.lost) == (1, 1, 0) and f.complete
        assert "kind TierShrunk: it is about another medium" in notes[0] and "BlockStored cannot be read" in notes[1]
        publisher.publish([{"type": "TierShrunk"}])
        follow_to_the_end(f, publisher)
        assert not f.complete and not f.mirror.blocks and "the mirror is emptied" in notes[2]


def test_messages_without_numbers():
    """Nothing tells what they held; one with a number, that nothing is missing."""
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model()), publisher.replay) as f:
        publisher.wait_for_subscriber()
        publisher.send_frames(encode([stored([1])]))
        publisher.wait_until_sent()
        f.replay = None
        while not f.counts.malformed:
            f.poll(0.1)
        assert not f.complete and not f.summary()["complete"]
        publisher.publish([stored([2])])
        publisher.wait_until_sent()
        while not f.counts.batches:
            f.poll(0.1)
        assert f.complete


# ---- one engine ------------------------------------------------------------------------------------------------------


def test_other_topics_are_not_heard():
    with Publisher(topic="other") as publisher, Follower(publisher.endpoint, Mirror(model()), topic="kv-events") as f:
        publisher.wait_for_subscriber()
        publisher.publish([stored([1])])
        publisher.wait_until_sent()
        assert f.poll(0.2) == 0
        with pytest.raises(TargetError, match="nothing heard from tcp://.* for 0.2 s"):
            f.run(patience=0.2)


def test_a_topic_is_whole_or_ends_at_an_at_sign():
    """kv@pod-1 is the beginning of kv@pod-10, and another engine."""
    seq, payload = bytes(8), encode([stored([1])])
    for topic, heard in (("kv@pod-1", True), ("kv@pod-1@m", True), ("kv", True), ("kv@pod", False), ("kv@pod-1@m2", False)):
        with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model()), topic=topic) as f:
            publisher.wait_for_subscriber()
            publisher.send_frames(b"kv@pod-10@m", seq, payload) if topic != "kv" else None
            publisher.send_frames(b"kv@pod-1@m", seq, payload)
            publisher.wait_until_sent()
            if heard:
                f.run(count=1, patience=60)
                assert f.summary()["topic"] == "kv@pod-1@m" and f.complete
            else:
                with pytest.raises(TargetError) as caught:
                    f.run(patience=0.5)
                assert ("'kv@pod-1@m'" in caught.value.message) == (topic == "kv@pod")


@pytest.mark.parametrize("topic", ["", "kv"])
def test_two_topics_are_refused(topic):
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model()), topic=topic) as f:
        publisher.wait_for_subscriber()
        for engine in (b"kv@1", b"kv@2"):
            publisher.send_frames(engine, bytes(8), encode([stored([1])]))
        with pytest.raises(SeveralEngines, match="carries several engines: topics 'kv@1', 'kv@2'") as caught:
            f.run(patience=60)
        assert "--topic" in caught.value.remedy


def test_two_ranks_are_refused():
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model())) as f:
        publisher.wait_for_subscriber()
        for seq, rank in ((0, 0), (1, None), (0, 1)):
            publisher.send_frames(b"kv-events", seq.to_bytes(8, "big"), encode([stored([1])], rank=rank))
        with pytest.raises(SeveralEngines, match="data-parallel ranks 0 and 1"):
            f.run(patience=60)


def test_two_engines_that_look_alike_are_refused():
    with Publisher(rank=None) as publisher, Follower(publisher.endpoint, Mirror(model())) as f:
        publisher.wait_for_subscriber()
        for seq in range(3):
            for engine in range(2):
                payload = encode([stored([10 * engine + seq])], rank=None)
                publisher.send_frames(b"kv-events", seq.to_bytes(8, "big"), payload)
        with pytest.raises(SeveralEngines, match="number 1 comes a second time"):
            f.run(patience=60)
        assert not f.complete


def test_a_restart_behind_a_forwarder_is_followed_and_not_trusted():
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model())) as f:
        publisher.wait_for_subscriber()
        for life in range(2):
            for seq in range(150):
                payload = encode([stored([1000 * life + seq])], ts=float(life))
                publisher.send_frames(b"kv-events", seq.to_bytes(8, "big"), payload)
        f.run(count=300, patience=60)
        assert f.counts.restarts == 1 and not f.complete and len(f.mirror.blocks) == 150


def test_a_replay_of_another_engine_is_refused():
    with Publisher(topic="kv@1") as publisher, Publisher(topic="kv@2") as other:
        other.publish([stored([1])])
        other.wait_until_sent()
        with Follower(publisher.endpoint, Mirror(model()), other.replay, topic="kv@1") as f:
            with pytest.raises(SeveralEngines, match="'kv@1', 'kv@2'"):
                f.catch_up()


def test_after_a_lost_connection_a_number_that_fits_is_not_enough():
    """Another server may have arrived at it."""
    with Publisher() as old:
        f = Follower(old.endpoint, Mirror(model()))
        old.wait_for_subscriber()
        old.publish([stored([1])])
        follow_to_the_end(f, old)
        endpoint = old.endpoint
    with f, Publisher(endpoint=endpoint) as new:
        new.publish([stored([2])], lose=True)
        new.wait_until_sent()
        while not new.has_subscriber:
            f.poll(0.01)
        assert f.complete  # nothing came since
        new.publish([stored([3])])
        while f.next == 1:
            f.poll(0.1)
        assert f.next == 2 and not f.complete


# ---- replays and endpoints -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replies", REPLIES)
def test_both_forms_of_a_replay(replies):
    with Publisher(replies=replies) as publisher:
        publisher.publish([stored([1, 2])])
        publisher.publish([removed([2])])
        publisher.wait_until_sent()
        with Follower(publisher.endpoint, Mirror(model()), publisher.replay) as f:
            f.catch_up()
            assert set(f.mirror.blocks) == {(0, 1)} and f.counts.replayed == 2 and f.counts.malformed == 0 and f.complete


def test_a_server_without_any_batch_is_another_one():
    with Publisher() as old:
        f = Follower(old.endpoint, Mirror(model()), old.replay)
        old.publish([stored([1])])
        old.wait_until_sent()
        f.catch_up()
        replay, endpoint = old.replay, old.endpoint
    with f, Publisher(endpoint=endpoint, replay=replay):
        f.catch_up()
        assert f.counts.restarts == 1 and not f.mirror.blocks and f.complete


def test_a_replay_that_cannot_be_read(monkeypatch):
    """As one in a form that is not known: it answers, and nothing is learned from it."""
    with Publisher() as publisher, Follower(publisher.endpoint, Mirror(model()), publisher.replay) as f:
        publisher.publish([stored([1])])
        publisher.wait_until_sent()
        split = kv_events.split_reply
        monkeypatch.setattr(kv_events, "split_reply", lambda frames: split([*frames, b"more"]) if frames[-1] else split(frames))
        f.catch_up()
        assert f.counts.malformed == 1 and not f.complete and f.counts.unanswered == 0
        monkeypatch.undo()
        f.catch_up()
        assert f.complete and set(f.mirror.blocks) == {(0, 1)}


def test_a_silent_replay():
    with Publisher(replies=None) as publisher:
        with Follower(publisher.endpoint, Mirror(model()), publisher.replay, replay_patience=0.2) as f:
            publisher.wait_for_subscriber()
            f.catch_up()
            assert f.counts.unanswered == 1 and not f.complete
            publisher.publish([stored([1])])
            publisher.wait_until_sent()
            while not f.counts.batches:
                f.poll(0.1)
            assert f.complete  # the very first number: nothing was before it


def test_ipv6():
    with Publisher(endpoint="tcp://[::1]:*", replay="tcp://[::1]:*") as publisher:
        with Follower(publisher.endpoint, Mirror(model()), publisher.replay) as f:
            publisher.wait_for_subscriber()
            publisher.publish([stored([1])])
            f.run(count=1, patience=60)
            assert set(f.mirror.blocks) == {(0, 1)}
            f.catch_up()
            assert f.complete


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_publisher_that_connects(host):
    with Follower(f"tcp://{host}:*".replace("*", str(free_port())), Mirror(model()), bind=True) as f:
        with Publisher(endpoint=f.endpoint, connect=True) as publisher:
            while not publisher.has_subscriber:
                f.poll(0.01)
            publisher.publish([stored([1])])
            f.run(count=1, patience=60)
            assert set(f.mirror.blocks) == {(0, 1)} and f.complete
    with pytest.raises(UsageError, match="not an endpoint that can be bound to") as caught:
        Follower("tcp://192.0.2.1:5557", Mirror(model()), bind=True)
    assert "an address of this machine" in caught.value.remedy


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_dead_replay():
    """Its silence is told, and what it would have had is lost; the rest goes on."""
    notes = []
    with Publisher() as publisher:
        with Follower(
            publisher.endpoint, Mirror(model()), "tcp://127.0.0.1:9", replay_patience=0.2, say=notes.append
        ) as f:
            publisher.wait_for_subscriber()
            for name in range(3):
                publisher.publish([stored([name])], lose=name == 1)
            publisher.wait_until_sent()
            while f.next < 3:
                f.poll(0.1)
            assert f.counts.unanswered == 1 and f.counts.lost_ranges == [(1, 1)] and set(f.mirror.blocks) == {(0, 2)}
            assert "silent" in notes[0] and "lost" in notes[1]


@pytest.mark.parametrize(
    "endpoint",
    [
        "", "nowhere", "foo://host:1", "tcp://*:5557", "tcp://host", "tcp://host:", "tcp://host:99999", "tcp://host:0",
        "tcp://host:-1", "tcp://host:55x7", "tcp://host:5557/", "tcp://host: 5557", "tcp://host:5557 ", "tcp://:5557",
        "tcp:host:5557", "tcp://::1:5557", "tcp://[::1]", "tcp://[::1]:x", "tcp://[zz]:5557",
        "ipc://",
    ],
)  # fmt: skip
def test_endpoints_that_are_none(endpoint):
    with pytest.raises(UsageError, match="not an endpoint that can be connected to"):
        Follower(endpoint, Mirror(model()))
    with pytest.raises(UsageError, match="not an endpoint"):
        Follower("tcp://127.0.0.1:9", Mirror(model()), replay=endpoint or "x")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "h\0"])
def test_a_name_that_nobody_knows_is_told_as_such(host):
    with pytest.raises(UsageError, match=f"no machine of the name {host}") as refused:
        Follower(f"tcp://{host}:5557", Mirror(model()))
    assert refused.value.remedy and "address" in refused.value.remedy


# ---- kvfpga follow ---------------------------------------------------------------------------------------------------


def test_no_device_is_made_ready_for_an_endpoint_that_is_none(tmp_path):
    for words in (["nowhere"], ["tcp://127.0.0.1:9", "--replay", "nowhere"], ["tcp://127.0.0.1:0", "--bind"]):
        code, _, said = run(tmp_path, "follow", *words)
        assert code == 2 and "not an endpoint" in said and not (tmp_path / "s").exists()


def test_a_name_is_looked_up_once(monkeypatch, tmp_path):
    asked = []

    def look_up(host, *more, **options):
        asked.append(host)
        return real(host.replace("once.invalid", "127.0.0.1"), *more, **options)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    code, _, said = run(tmp_path, "follow", "tcp://once.invalid:9", "--patience", "0.1")
    assert (code, asked) == (3, ["once.invalid"]), said


def test_cli(tmp_path):
    with Publisher() as publisher:
        for number in range(6):
            publisher.publish([stored([number])])
        publisher.publish([removed([0, 1])])
        words = ("follow", publisher.endpoint, "--replay", publisher.replay, "--count", "7", "--step-every", "3")
        code, out, err = run(tmp_path, "--json", *words)
        found = json.loads(out)
        assert code == 0 and found["blocks"] == 4 and found["batches"] == 7 and found["steps"] == 2 and found["complete"] is True
        assert found["command"] == "follow" and found["code"] == "OK" and found["kept"] == 2
        code, out, err = run(tmp_path, *words)
        assert code == 0 and "blocks" in out and "following" in err
    code, out, _ = run(tmp_path, "--json", "dump")
    assert len(json.loads(out)["entries"]) == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cli_ctrl_c_stores_the_session(tmp_path, monkeypatch, number):
    mirrored, apply = threading.Event(), Mirror.apply
    monkeypatch.setattr(Mirror, "apply", lambda *arguments: (apply(*arguments), mirrored.set()))
    with Publisher() as publisher:
        publisher.publish([stored([1, 2])])

        def interrupt():
            mirrored.wait()
            os.kill(os.getpid(), number)

        timer = threading.Thread(target=interrupt)
        timer.start()
        code, out, _ = run(tmp_path, "--json", "follow", publisher.endpoint, "--replay", publisher.replay)
        timer.join()
        assert code == 0 and json.loads(out)["blocks"] == 2
    assert len(json.loads(run(tmp_path, "--json", "dump")[1])["entries"]) == 2


def test_cli_errors(tmp_path):
    code, out, err = run(tmp_path, "--json", "follow", "tcp://127.0.0.1:9", "--patience", "0.3")
    assert code == 3 and not out and "nothing heard from tcp://127.0.0.1:9 for 0.3 s" in err and "--kv-events-config" in err
    code, _, err = run(tmp_path, "follow", "tcp://*:5557")
    assert code == 2 and "reached by its host's name" in err
    code, _, err = run(tmp_path, "follow", "ipc:///x", "--rank", "2")
    assert code == 2 and "rank 2" in err
