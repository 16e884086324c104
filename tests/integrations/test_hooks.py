"""FINAL and ANNOUNCE from a scheduler: what the device is told when, by hooks and by the connector that vLLM loads."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
import types

import pytest

from kvfpga.contract.errors import TargetError, UsageError
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.integrations.vllm import Hooks
from kvfpga.lockstep.reference import Reference
from kvfpga.policy.classes import plan
from kvfpga.policy.constants import DEFAULT
from tests.helpers.kv_connector import BASE, Request, Scheduler, config, interface

pytestmark = pytest.mark.timeout(300)
MODULE = "kvfpga.integrations.vllm.connector"
FIRST_FINAL = plan(256, DEFAULT, 100.0, final=True).final.first


def model(entries=256) -> Reference:
    return Reference(ReferenceModel(entries))


class ByHooks:
    """Called like a connector."""

    def __init__(self, hooks: Hooks):
        self.hooks, self.on_new_request = hooks, hooks.queued

    def get_num_new_matched_tokens(self, request, computed):
        return 0, False

    def update_state_after_alloc(self, request, blocks, external):
        self.hooks.scheduled(request)

    def build_connector_meta(self, output):
        self.hooks.stepped()

    def request_finished(self, request, blocks):
        self.hooks.finished(request)
        return False, None


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def serving(device=None, **more):
    clock = Clock()
    hooks = Hooks(device or model(), 16, clock=clock, **more)
    return Scheduler(ByHooks(hooks)), hooks, clock


def final_blocks(device) -> int:
    return sum(entry["class"] >= FIRST_FINAL for entry in device.dump())


def test_a_request_is_announced_arrives_grows_and_ends():
    scheduler, hooks, _ = serving()
    scheduler.add_request(Request("a", list(range(40)), 30))
    assert hooks.placement.held == 0 and hooks.placement.decisions.announced == 1
    scheduler.step()
    assert hooks.placement.verify() == 2  # the third block is not full yet
    scheduler.drain()
    hooks.placement.verify()
    decisions = hooks.placement.decisions
    assert (decisions.requests, decisions.loads, decisions.finals) == (1, 70 // 16, 0)
    assert decisions.steps == 30  # one a step of the scheduler


def test_what_was_announced_is_in_tier_1_when_it_is_scheduled():
    scheduler, hooks, _ = serving(t1_capacity=4)
    for first in (0, 1000, 2000):
        scheduler.add_request(Request(f"{first}", list(range(first, first + 64)), 2))
        scheduler.drain()
    before = hooks.placement.decisions.hits
    scheduler.add_request(Request("again", list(range(64)), 2))
    scheduler.drain()
    assert hooks.placement.decisions.hits - before == 4 and hooks.placement.decisions.lru_hits == 0
    assert hooks.placement.device.telemetry()["prefetch_count"] > 0


def test_without_announce_nothing_is_known_before_it_runs():
    scheduler, hooks, _ = serving(t1_capacity=4, announces=False)
    for first in (0, 1000, 2000, 0):
        scheduler.add_request(Request(f"{first}", list(range(first, first + 64)), 2))
        scheduler.drain()
    assert (hooks.placement.decisions.hits, hooks.placement.decisions.announced) == (0, 0)
    assert hooks.placement.device.telemetry()["prefetch_count"] == 0


@pytest.mark.parametrize("policy", ["ranked", "ranked-age", "linear:balanced"])
def test_a_prompt_that_fills_no_block(policy):
    scheduler, hooks, _ = serving(policy=policy)
    scheduler.add_request(Request("a", [1, 2, 3], 40))
    scheduler.step()
    assert hooks.placement.verify() == 0
    scheduler.drain()
    assert hooks.placement.verify() == 2 and hooks.placement.decisions.touches == 2


def test_what_waits_long_or_is_aborted():
    scheduler, hooks, _ = serving(t1_capacity=16)
    requests = [Request(f"{number}", list(range(number * 100, number * 100 + 32)), 20) for number in range(6)]
    for request in requests:
        scheduler.add_request(request)
    scheduler.step()
    scheduler.finish(requests[5])  # while it waits
    scheduler.drain()
    scheduler.finish(requests[5])  # and once more, which nobody minds
    decisions = hooks.placement.decisions
    assert (decisions.announced, decisions.requests) == (6, 5)
    hooks.placement.verify()


@pytest.mark.parametrize("said, is_final", [(None, False), (True, True), (False, False), ("yes", False)])
def test_final_is_what_the_client_says(said, is_final):
    scheduler, hooks, _ = serving()
    scheduler.add_request(Request("a", list(range(64)), 20, final=said))
    scheduler.drain()
    hooks.placement.flush()
    assert hooks.placement.decisions.finals == is_final
    assert final_blocks(hooks.placement.device) == (5 if is_final else 0)


def test_where_no_request_goes_on_all_are_final():
    scheduler, hooks, _ = serving(finals="all")
    scheduler.add_request(Request("a", list(range(64)), 20))
    scheduler.drain()
    hooks.placement.flush()
    assert hooks.placement.decisions.finals == 1 and final_blocks(hooks.placement.device) == 5
    with pytest.raises(UsageError, match="finals 'some'") as refused:
        serving(finals="some")
    assert "said or all" in refused.value.remedy


def test_idle_time_passes_too():
    scheduler, hooks, clock = serving()
    scheduler.add_request(Request("a", list(range(64)), 20))
    scheduler.drain()
    assert hooks.placement.step == 20
    clock.now = 60.0
    scheduler.add_request(Request("b", list(range(64)), 20))
    scheduler.step()
    assert hooks.placement.step == 600
    scheduler.step()
    assert hooks.placement.step == 601
    assert hooks.placement.decisions.steps == 20 + 1 + 1  # a minute in one


def test_the_engines_cache_is_reset():
    scheduler, hooks, _ = serving()
    scheduler.add_request(Request("a", list(range(64)), 20))
    scheduler.step()
    hooks.cleared()
    assert hooks.placement.verify() == 0
    scheduler.drain()  # its blocks are void, and it comes to its end
    assert hooks.placement.verify() == 0


# ---- the connector ----------------------------------------------------------------------------------------------------
@pytest.fixture
def connector(monkeypatch):
    """Makes one as vLLM does, of an interface `without` something."""
    made = []

    def make(extra, *without, role="SCHEDULER", arguments=3):
        base = interface(*without)
        names = BASE.split(".")
        for count in range(1, len(names)):
            package = types.ModuleType(".".join(names[:count]))
            package.__path__ = []
            monkeypatch.setitem(sys.modules, package.__name__, package)
        monkeypatch.setattr(sys.modules[BASE.rpartition(".")[0]], "base", base, raising=False)
        monkeypatch.setitem(sys.modules, BASE, base)
        monkeypatch.delitem(sys.modules, MODULE, raising=False)
        found = importlib.import_module(MODULE).KvCpuConnector
        more = {} if arguments == 2 else {"kv_cache_config": object()}
        made.append(found(config(extra), base.KVConnectorRole[role], **more))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()
    sys.modules.pop(MODULE, None)


MODEL = {"target": "model", "entries": 256}


@pytest.mark.parametrize("without", [(), ("SupportsHMA",), ("on_new_request",), ("on_new_request", "SupportsHMA")])
def test_every_release_that_has_the_interface(connector, without, caplog):
    it = connector({**MODEL, "t1_capacity": 4, "finals": "all"}, *without, arguments=2 if without else 3)
    assert it.requires_kv_delivery is False and it.reset_cache() is True
    scheduler = Scheduler(it)
    for first in (0, 1000, 2000, 0):
        scheduler.add_request(Request(f"{first}", list(range(first, first + 64)), 2))
        scheduler.drain()
    found = it.hooks.placement.decisions
    assert (found.requests, found.announced, found.hits, found.finals) == (4, 4, 4, 4)
    assert any("do not tell of queued requests" in text or "does not tell of queued" in text for text in caplog.messages) == (
        "on_new_request" in without
    )


def test_requests_that_have_no_hashes_are_served_and_that_is_said_once(connector, caplog):
    it = connector(MODEL)
    plain = types.SimpleNamespace(request_id="a", num_prompt_tokens=5)
    for _ in range(3):
        it.on_new_request(plain)
        it.update_state_after_alloc(plain, None, 0)
        it.request_finished_all_groups(plain, ([],))
    assert [text for text in caplog.messages if "block_hashes" in text] == caplog.messages[-1:]
    assert it.hooks.placement.decisions.requests == 0


def test_blocks_of_the_size_that_names_are_for(connector):
    it = connector(MODEL)
    it.bind_gpu_block_pool(types.SimpleNamespace(hash_block_size=8))
    scheduler = Scheduler(it)
    scheduler.add_request(Request("a", list(range(64)), 2, block_size=8))
    scheduler.step()
    assert it.hooks.placement.held == 8


def test_workers_do_nothing(connector):
    it = connector({"target": "no such target"}, role="WORKER")
    it.start_load_kv(None)
    it.wait_for_layer_load("0")
    it.save_kv_layer("0", None, None)
    it.wait_for_save()
    assert it.hooks is None and it.reset_cache() is True


def test_what_the_extra_configuration_may_say(connector):
    with pytest.raises(UsageError, match="has capacity, device") as refused:
        connector({"device": "sim", "capacity": 4})
    assert "t1_capacity" in refused.value.remedy
    with pytest.raises(UsageError, match="no policy"):
        connector({**MODEL, "policy": "lru"})
    with pytest.raises(TargetError):
        connector({"target": "unix:/nowhere/device"})


def test_chats_in_lockstep_with_the_rtl(lockstep):
    """More requests than run at once, sessions that go on and end, a table learnt meanwhile; nothing differs."""
    draw = random.Random(9)
    hooks = Hooks(lockstep, 16, t1_capacity=40, step_ms=400.0)
    scheduler = Scheduler(ByHooks(hooks), most=3)
    system = [list(range(base, base + 64)) for base in (0, 10_000)]
    sessions = {number: list(draw.choice(system)) for number in range(6)}
    count = 0
    for _ in range(20):
        for number in draw.sample(sorted(sessions), 5):
            sessions[number] += [draw.randrange(1 << 30) for _ in range(draw.randint(5, 40))]
            final = len(sessions[number]) > 200
            request = Request(f"{count}", sessions[number], draw.randint(2, 20), final=final)
            scheduler.add_request(request)
            sessions[number] = list(draw.choice(system)) if final else request.tokens
            count += 1
        scheduler.drain()
    hooks.placement.verify()
    found, telemetry = hooks.placement.figures(), lockstep.telemetry()
    assert lockstep.differences == 0 and lockstep.checks > 100
    assert found["requests"] == found["announced"] == 100 and found["finals"] > 5 and found["tables"] > 3
    assert final_blocks(lockstep) > 0 and telemetry["prefetch_count"] > 100
    assert found["hit_rate"] > found["lru_hit_rate"]


def test_it_is_imported_without_vllm():
    code = "import sys, kvfpga.integrations.vllm as v; v.Hooks, v.Placement, v.attach; print('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
