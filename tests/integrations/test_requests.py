"""The requests behind KV-cache events: which come, go on and end, what is touched, and what the policy has of it."""

from __future__ import annotations

import json
import random
import sys

import pytest

from kvfpga.hepc_ref import ReferenceModel
from kvfpga.integrations.vllm import events as kv_events
from kvfpga.integrations.vllm.follow import Follower
from kvfpga.integrations.vllm.placing import Placement
from kvfpga.integrations.vllm.requests import Requests
from kvfpga.lockstep.reference import Reference
from tests.helpers.command_line import run
from tests.helpers.kv_publisher import Cache, Publisher, cleared, encode, removed, stored
from tests.helpers.terminal import Terminal

pytestmark = pytest.mark.timeout(300)


def model(entries=256) -> Reference:
    return Reference(ReferenceModel(entries))


class Server:
    """What a server with decode steps of 100 ms would publish, told to `requests`."""

    def __init__(self, device=None, policy="ranked", t1_capacity=16, medium="GPU"):
        self.requests = Requests(Placement(device or model(), policy, t1_capacity), medium)
        self.step = 0

    def tell(self, *events, step=None):
        self.step = self.step if step is None else step
        self.requests.apply(kv_events.decode(encode(list(events), ts=1e9 + self.step / 10 + 0.05)))

    @property
    def told(self):
        self.requests.flush()
        d = self.requests.placement.decisions
        return d.requests, d.touches, d.loads

    @property
    def turns(self):
        """Of the requests that are active."""
        return [live.request.pieces[0].arrival.features.turn for live in self.requests._live.values()]


def test_a_chat_is_a_request_with_an_answer_and_then_another_one():
    server = Server()
    server.tell(stored([1, 2, 3]), step=0)
    assert server.told == (1, 3, 3)
    server.tell(stored([4], parent=3), step=16)  # the answer has filled a block
    server.tell(stored([5], parent=4), step=32)
    assert server.told == (1, 5, 5) and server.requests.active == 1
    assert server.requests.counts.generated == 2
    server.tell(stored([6, 7], parent=5), step=100)  # the next turn has found five blocks in the cache
    assert server.told == (2, 5 + 7, 7) and server.turns == [1]
    assert server.requests.placement.decisions.hits == 5
    server.requests.finish()
    assert server.requests.active == 0 and server.requests.verify() == 7


def test_a_request_that_has_generated_nothing_for_four_blocks_time_has_ended():
    server = Server()
    server.tell(stored([1, 2], size=16), step=0)
    server.tell(step=63)
    assert server.requests.active == 1
    server.tell(step=64)
    assert server.requests.active == 0 and server.requests.placement.decisions.classed == 2
    server.tell(stored([3], parent=2), step=65)  # so this is another one
    assert server.told == (2, 2 + 3, 3)


def test_many_share_a_beginning():
    server = Server()
    server.tell(stored([1, 2, 3]), step=0)
    server.tell(stored([10], parent=3), stored([20, 21], parent=3), stored([30], parent=2), step=100)
    assert server.told == (4, 3 + 4 + 5 + 3, 7)
    assert server.requests.placement.decisions.hits == 3 + 3 + 2


def test_two_that_answer_the_same_prompt():
    """The first answer goes on with the prompt's request; the second is another one."""
    server = Server()
    server.tell(stored([1, 2]), step=0)
    server.tell(stored([3], parent=2), step=16)
    server.tell(stored([4], parent=2), step=17)
    assert server.told == (2, 2 + 1 + 3, 4) and server.requests.active == 2


def test_a_prompt_that_is_computed_in_pieces_is_one():
    server = Server()
    server.tell(stored([1, 2]), step=0)
    server.tell(stored([3, 4], parent=2), step=1)
    server.tell(stored([5, 6], parent=4), stored([7], parent=6), step=1)  # as a reused and a new part come in one batch
    assert server.told == (1, 7, 7) and server.requests.counts.generated == 0
    server.tell(stored([8], parent=7), step=17)
    assert server.requests.counts.generated == 1
    server.tell(stored([9, 10], parent=8), step=20)  # two at once are no answer: another turn
    assert server.told == (2, 8 + 10, 10)
    server.tell(stored([11, 12], parent=10), step=31)  # no piece of a prompt comes so late
    assert server.told == (3, 8 + 10 + 12, 12)


def test_what_was_removed_is_there_when_it_is_stored_again():
    server = Server()
    server.tell(stored([1, 2, 3]), step=0)
    server.tell(removed([3]), step=5)  # in use it would not be removed
    assert server.requests.active == 0
    server.tell(removed([1, 2]), step=6)
    assert server.requests.verify() == 3
    server.tell(stored([1, 2, 3]), step=9)
    assert server.told == (2, 6, 3)
    counts, decisions = server.requests.counts, server.requests.placement.decisions
    assert (counts.again, counts.removed, decisions.hits, decisions.lru_hits) == (3, 3, 3, 3)


def test_what_is_cleared_is_void():
    server = Server()
    server.tell(stored([1, 2]), cleared(), stored([3]), step=0)
    assert server.told == (2, 3, 3) and server.requests.verify() == 1 and server.requests.complete
    server.tell({"type": "Strange"}, step=1)
    assert server.requests.verify() == 0 and not server.requests.complete
    server.tell(cleared(), stored([1, 2]), step=2)
    assert server.requests.verify() == 2 and server.requests.complete
    assert server.requests.placement.decisions.hits == 0


def test_other_media_and_groups():
    server = Server(medium="CPU")
    server.tell(stored([1]), stored([2], medium="CPU"), stored([2], medium="CPU", group_idx=1), stored([], medium="CPU"))
    assert server.requests.verify() == 2 and server.requests.counts.other_media == ["GPU"]


@pytest.mark.parametrize(
    "hashes, parent", [([1], 1), ([1, 2, 1], None), ([5], 99), ([2, 1], 3)], ids=["own", "twice", "unknown", "circle"]
)
def test_chains_that_no_server_has(hashes, parent):
    server = Server()
    server.tell(stored([3], parent=1), step=0)
    server.tell(stored(hashes, parent=parent), stored([8, 9], parent=hashes[-1]), step=1)
    server.tell(stored(hashes, parent=parent), step=300)
    server.tell(stored([10, 11], parent=3), step=600)
    server.requests.finish()
    server.requests.verify()
    assert server.requests.active == 0


def test_time_is_the_publishers_and_does_not_go_back():
    requests = Requests(Placement(model(), "ranked", 16))
    for at, ts in enumerate((1e9, 1e9 + 5, 1e9 + 1, None, "noon", 1e9 + 6, 9e10, 9e10 + 1)):
        requests.apply(kv_events.decode(encode([stored([at])], ts=ts)))
        expected = (0, 50, 51, 52, 53, 51 + 50, 102, 112)[at]  # set back at the third, and forward at the seventh
        assert requests.placement.step == expected
    assert requests.summary()["steps"] == 112  # the first has not ended before the last one came


def test_a_table_is_learnt_every_15_seconds_and_is_in_force():
    """Sessions with a short prompt go on after 8 s, those with a long one never do: the policy learns to keep the former."""
    server = Server(model(1024), t1_capacity=40)
    for number in range(200):
        first = number * 1000
        server.tell(stored(range(first, first + 3)), stored(range(first + 100, first + 140)), step=number * 20)
        if number > 3:
            server.tell(stored([first - 1], parent=first - 4000 + 2))
    found = server.requests.summary()
    assert found["tables"] == 1 + 24  # at the first arrivals 150 steps or more behind the one before: every 160
    assert (server.requests.placement._table == server.requests.placement.device.model.table).all()
    assert found["hit_rate"] > found["lru_hit_rate"] + 0.03
    server.requests.finish()
    server.requests.verify()


@pytest.mark.parametrize("policy", ["ranked", "linear:balanced"])
def test_random_traffic_in_lockstep_with_the_rtl(lockstep, policy):
    """Of a cache that is larger than the directory, with copies, removals and resets. Nothing is remembered of what has gone."""
    server, cache = Server(lockstep, policy), Cache(seed=11, size=400, clear=0.002)
    for batch in range(300):
        server.tell(*cache.batch(3), step=server.step + random.Random(batch).choice([0, 1, 7, 40]))
    server.requests.finish()
    assert server.requests.verify() > 0
    assert lockstep.checks >= 10 and lockstep.differences == 0
    assert server.requests.placement.decisions.unloads > 100
    assert len(server.requests._parents) == server.requests.held <= 256


def test_a_follower_tells_it_every_batch_with_losses_and_a_replay():
    with Publisher(lose=0.05, seed=3) as publisher:
        requests = Requests(Placement(model(1024), "ranked", 64))
        with Follower(publisher.endpoint, requests, publisher.replay) as follower:
            publisher.wait_for_subscriber()
            cache = Cache(seed=2, size=100)
            for _ in range(200):
                publisher.publish(cache.batch(2))
            publisher.wait_until_sent()
            while follower.next != publisher.seq:
                if not follower.poll(0.05):
                    follower.catch_up()
            assert follower.complete and follower.counts.batches == 200 and follower.counts.lost == 0
            assert follower.summary()["requests"] == requests.placement.decisions.requests > 50
    requests.verify()


# ---- kvfpga follow --policy -------------------------------------------------------------------------------------------


def test_cli(tmp_path):
    with Publisher() as publisher:
        for number in range(5):
            publisher.publish([stored([number * 10, number * 10 + 1])])
        publisher.publish([stored([0, 1])])
        words = ("follow", publisher.endpoint, "--replay", publisher.replay, "--count", "6", "--policy", "ranked")
        code, out, err = run(tmp_path, "--json", *words, "--t1-capacity", "6")
        found = json.loads(out)
        assert code == 0 and found["complete"] and (found["policy"], found["t1_capacity"]) == ("ranked", 6)
        assert (found["requests"], found["touches"], found["loads"], found["lru_hits"]) == (6, 12, 10, 0)
        assert found["ranks"] == sorted(found["ranks"]) and found["tables"] == 1
        code, out, err = run(tmp_path, *words)
        assert code == 0 and "hit_rate" in out and "lru_hit_rate" in out
    assert json.loads(run(tmp_path, "--json", "info")[1]).get("code", "OK") == "OK"
    assert len(json.loads(run(tmp_path, "--json", "dump")[1])["entries"]) == 10
    assert "differ" not in run(tmp_path, "verify")[1]


@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal_shows_all_figures_meanwhile(tmp_path, columns):
    options = "--target", "model", "--entries", "256", "--session", str(tmp_path / "s")
    with Publisher() as publisher:
        for number in range(6):
            publisher.publish([stored([number * 10, number * 10 + 1])])
        publisher.wait_until_sent()
        words = "follow", publisher.endpoint, "--replay", publisher.replay, "--patience", "1", "--policy", "ranked"
        with Terminal(sys.executable, "-m", "kvfpga", *options, *words, columns=columns) as terminal:
            assert terminal.ended() == 0, terminal.seen
    assert "12 blocks · 6 requests · hit 0.0%, LRU 0.0% · 6 events" in " ".join(terminal.seen.split())


def test_cli_reports_intervals_that_add_up(tmp_path):
    with Publisher() as publisher:
        for number in range(4):
            publisher.publish([stored([number, number + 100])])
        words = ("--policy", "ranked-age", "--report", "0.2", "--patience", "1.5")
        code, out, _ = run(tmp_path, "--json", "follow", publisher.endpoint, "--replay", publisher.replay, *words)
        *intervals, whole = map(json.loads, out.splitlines())
        assert code == 0 and len(intervals) > 1
        assert [one["interval"] for one in intervals] == list(range(1, len(intervals) + 1))
        for name in ("requests", "touches", "loads", "tables"):
            assert sum(one[name] for one in intervals) == whole[name] > 0
        code, out, _ = run(tmp_path, "follow", publisher.endpoint, "--replay", publisher.replay, *words)
        assert code == 0 and "4 requests" in out and "θ" in out and "LRU" in out


@pytest.mark.parametrize(
    "words, said",
    [
        (("--t1-capacity", "8"), "--t1-capacity is for --policy"),
        (("--report", "5"), "--report is for --policy"),
        (("--policy", "ranked", "--step-ms", "0"), "decode steps of 0 ms"),
        (("--policy", "ranked", "--step-every", "2"), "--step-every is for a mirror"),
        (("--policy", "ranked", "--copies", "ignore"), "--copies ignore is for a mirror"),
        (("--policy", "ranked", "--t1-capacity", "257"), "a T1 of 257 blocks"),
        (("--policy", "ranked", "--step-ms", "-1"), "decode steps of -1 ms"),
        (("--policy", "lru"), "'lru' is not one of"),
    ],
)
def test_cli_refuses(tmp_path, words, said):
    code, out, err = run(tmp_path, "--json", "follow", "tcp://127.0.0.1:9", *words)
    assert code == 2 and said in err and not out
