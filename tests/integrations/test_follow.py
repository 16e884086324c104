"""Following a publisher of KV-cache events: wire format, order, gaps, losses, and what the directory holds in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import threading

import msgspec
import pytest
from click.testing import CliRunner

from kvfpga.cli.main import cli
from kvfpga.contract.commands import Load, Unload
from kvfpga.contract.errors import DeviceRefused, DifferenceError, TargetError, UsageError
from kvfpga.device.device import Device
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.integrations.vllm import events as kv_events
from kvfpga.integrations.vllm.events import Cleared, Removed, Stored, WireError
from kvfpga.integrations.vllm.follow import Follower, rank_endpoint
from kvfpga.integrations.vllm.mirror import VA_BASE, Mirror
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.lockstep.reference import Reference
from tests.helpers.fake_device import FakeDevice
from tests.helpers.kv_publisher import FORMS, Cache, Publisher, cleared, encode, removed, stored

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
    found = kv_events.decode(encode(events, form, ts=2.5, rank=3))
    assert found == (2.5, [Stored([name, 5], name, 16, "GPU", 2), Removed([name], "CPU", 0), Cleared()], 3, 0)


def test_bytes_of_a_release_are_read():
    """A batch as documented for vLLM 0.9, byte by byte: no medium, no rank."""
    payload = bytes.fromhex(
        "92 cb3ff0000000000000 92 96ab426c6f636b53746f726564 92010a c0 920304 02 c0 92ac426c6f636b52656d6f766564 9101"
    )
    assert kv_events.decode(payload) == (1.0, [Stored([1, 10], None, 2, None, 0), Removed([1], None, 0)], None, 0)


def test_what_newer_releases_add_is_skipped():
    more = {"kv_cache_spec_kind": "full_attention", "session_id": "x", "extra_keys": [None, ["salt"]], "lora_name": "a"}
    events = [stored([1], **more), {"type": "BlockInactive", "block_hashes": [1]}, removed([1], remaining_copy_counts=[0])]
    for form in FORMS[1:]:
        assert kv_events.decode(encode(events, form)) == (1.0, [Stored([1], None, 16, "GPU", 0), Removed([1], "GPU", 0)], 0, 1)
    many = {f"field_{number}": number for number in range(40)}  # a map of 16 fields or more is written in another way
    assert kv_events.decode(encode([stored([1], **many)], "maps in arrays")).events == [Stored([1], None, 16, "GPU", 0)]
    longer = [1.0, [["BlockRemoved", [1], "GPU", 0, "new"], ["BlockInactive", [1]]], 0, "new"]
    assert kv_events.decode(msgspec.msgpack.encode(longer)) == (1.0, [Removed([1], "GPU", 0)], 0, 1)


ARRAY = ["BlockStored", [1], None, [1] * 16, 16, None, "GPU"]
MALFORMED = {
    "nothing": b"",
    "not msgpack": b"\xc1",
    "cut short": encode([stored([1])])[:-3],
    "more behind it": encode([stored([1])]) + b"\x00",
    "a number": msgspec.msgpack.encode(5),
    "no events": msgspec.msgpack.encode([1.0]),
    "an event that is none": msgspec.msgpack.encode([1.0, [7]]),
    "an event without kind": msgspec.msgpack.encode([1.0, [{}]]),
    "a kind that is no text": msgspec.msgpack.encode([1.0, [[3]]]),
    "a kind that is not UTF-8": b"\x92\x01\x91\x91\xa1\xff",
    "too short": msgspec.msgpack.encode([1.0, [ARRAY[:4]]]),
    "a hash that is text": msgspec.msgpack.encode([1.0, [["BlockRemoved", ["a"]]]]),
    "an empty hash": encode([removed([b""])]),
    "a hash of 65 bytes": encode([removed([b"x" * 65])]),
    "a negative block size": encode([stored([1]) | {"block_size": -1}]),
    "a block size of 33 bits": encode([stored([1]) | {"block_size": 1 << 32}]),
    "a group of 33 bits": encode([removed([1], group_idx=1 << 32)]),
    "a medium that is no text": encode([removed([1], medium=5)]),
    "nested": b"\x92\xcb" + bytes(8) + b"\x91" * 200_000,
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_batches(payload):
    with pytest.raises(WireError, match="not a batch of KV-cache events"):
        kv_events.decode(payload)


def test_mutated_batches_are_read_or_refused():
    r = random.Random(5)
    whole = [encode([stored([1, b"x" * 8], parent=4), removed([2]), cleared()], form) for form in FORMS]
    refused = 0
    for _ in range(3000):
        payload = bytearray(r.choice(whole))
        for _ in range(r.randint(1, 4)):
            payload[r.randrange(len(payload))] = r.randrange(256)
        try:
            kv_events.decode(bytes(payload))
        except WireError:
            refused += 1
    assert 500 < refused < 3000


def test_frames():
    seq = (7).to_bytes(8, "big")
    assert kv_events.split([b"topic", seq, b"x"]) == (7, b"x")
    assert kv_events.split_reply([b"", seq, b"x"]) == (7, b"x")
    assert kv_events.split_reply([b"", b"\xff" * 8, b""]) is None
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


@pytest.mark.parametrize("form,hashes", [("arrays", "int"), ("maps in arrays", "int"), ("maps", "bytes")])
def test_ten_thousand_events_with_one_percent_lost(form, hashes):
    cache = Cache(seed=7, size=900, hashes=hashes, clear=0.0001)
    mirror = Mirror(model(2048))
    with Publisher(form, lose=0.01, seed=2) as publisher, Follower(publisher.endpoint, mirror, publisher.replay) as f:
        publisher.wait_for_subscriber()
        events = 0
        while events < 10_000:
            number = min(cache.random.randint(1, 4), 10_000 - events)
            publisher.publish(cache.batch(number))
            events += number
            if cache.random.random() < 0.02:
                keep_pace(f, publisher)
        follow_to_the_end(f, publisher)
        assert f.counts.events == 10_000 and f.counts.lost == f.counts.malformed == f.counts.restarts == 0
        assert publisher.lost > 20 and f.counts.gaps > 10 and f.counts.replayed >= publisher.lost
        assert f.mirror.blocks == cache.truth and len(cache.truth) > 200 and f.mirror.complete
        assert in_tier_1(f.mirror) == set(cache.truth)
        assert f.mirror.verify() == len(cache.truth)
        assert min(f.mirror.counts.shares, f.mirror.counts.returns, f.mirror.counts.releases) > 100


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
            publisher.wait_until_sent()
            while f.poll(0.01):
                pass
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
        f._take([b"", (3).to_bytes(8, "big"), encode([stored([3])], ts=7.0)])
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
            for seq, payload in ask(start):
                if seq == 5 and not dropped:
                    dropped.append(seq)
                else:
                    yield seq, payload

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
        assert f.counts.malformed == 3 and f.counts.lost == 0 and f.mirror.complete
        for payload in MALFORMED.values():
            publisher.publish_raw(payload)
        publisher.publish([stored([3])])
        follow_to_the_end(f, publisher)
        assert f.counts.malformed == 3 + len(MALFORMED) and f.counts.lost == len(MALFORMED)
        assert set(f.mirror.blocks) == {(0, 3)} and not f.mirror.complete and f.mirror.verify() == 1
        assert any("not a batch of KV-cache events" in note for note in notes) and any("further ones" in note for note in notes)


def test_other_topics_are_not_heard():
    with Publisher(topic="other") as publisher, Follower(publisher.endpoint, Mirror(model()), topic="kv-") as f:
        publisher.wait_for_subscriber()
        publisher.publish([stored([1])])
        publisher.wait_until_sent()
        assert f.poll(0.2) == 0
        with pytest.raises(TargetError, match="nothing heard from tcp://.* for 0.2 s"):
            f.run(patience=0.2)


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


@pytest.mark.parametrize("endpoint", ["nowhere", "tcp://*:5557", "tcp://host", "foo://host:1", "tcp://host:99999", ""])
def test_endpoints_that_are_none(endpoint):
    with pytest.raises(UsageError, match="not an endpoint that can be connected to"):
        Follower(endpoint, Mirror(model()))
    with pytest.raises(UsageError, match="not an endpoint"):
        Follower("tcp://127.0.0.1:9", Mirror(model()), replay=endpoint or "x")


# ---- kvfpga follow ---------------------------------------------------------------------------------------------------


def run(tmp_path, *words):
    found = CliRunner().invoke(cli, ["--target", "model", "--entries", "256", "--session", str(tmp_path / "s"), *words])
    return found.exit_code, found.stdout, found.stderr


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
