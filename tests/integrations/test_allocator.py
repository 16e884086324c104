"""The controller and the block-pool wrapper, over a pool with the methods of vLLM's (which is not installed)."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import deque
from types import SimpleNamespace

import pytest

from kvfpga.contract.commands import Load
from kvfpga.contract.errors import DeviceRefused, TargetError, UsageError
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.integrations.vllm.allocator import VA_BASE, KvCpuBlockAllocator, KvCpuController, attach
from kvfpga.lockstep.reference import Reference

VA, SLOT = 0x7F00_0000, 16384


class Block:
    def __init__(self, block_id: int):
        self.block_id, self.ref_cnt, self.block_hash, self.is_null = block_id, 0, None, False


class Pool:
    """Reference counts, free queue and prefix cache of a block pool; block 0 is the null block."""

    def __init__(self, number: int):
        self.num_gpu_blocks = number
        self.blocks = [Block(i) for i in range(number)]
        self.null_block = self.blocks[0]
        self.null_block.is_null = True
        self.free = deque(self.blocks[1:])

    def get_num_free_blocks(self):
        return len(self.free)

    def get_new_blocks(self, number):
        found = [self.free.popleft() for _ in range(number)]
        for block in found:
            block.block_hash, block.ref_cnt = None, 1
        return found

    def touch(self, blocks):
        for block in blocks[0] if blocks and isinstance(blocks[0], list) else blocks:
            if block.ref_cnt == 0 and not block.is_null:
                self.free.remove(block)
            block.ref_cnt += 1

    def free_blocks(self, ordered_blocks):
        for block in ordered_blocks:
            block.ref_cnt -= 1
            if block.ref_cnt == 0 and not block.is_null:
                self.free.append(block)

    def evict_blocks(self, block_ids):
        for block_id in block_ids:
            self.blocks[block_id].block_hash = None

    def reset_prefix_cache(self):
        if len(self.free) != self.num_gpu_blocks - 1:
            return False
        for block in self.blocks:
            block.block_hash = None
        return True


@pytest.fixture
def device():
    return Reference(ReferenceModel(256))


def entries(device) -> dict[int, dict]:
    """By block id."""
    return {(entry["va"] - VA_BASE) // SLOT: entry for entry in device.dump()}


# ---- controller ---------------------------------------------------------------------------------------------------------


def test_controller(dut):
    for number in range(4):
        dut.execute(Load(1, 0, 0, 32 * number, 32 * number + 31, VA + number * SLOT))
    with KvCpuController(dut) as controller:
        assert (controller.block_bytes, controller.block_tokens, controller.entries) == (dut.block_bytes, 32, 256)
        controller.mark_hot(VA, 1)
        controller.share_prefix(VA, 2 * SLOT)
        controller.evict(VA + 2 * SLOT, SLOT)
        assert controller.advance_decode_step() == 1
        assert controller.advance_decode_step(7) == controller.step == 7
        controller.prefetch(VA + 2 * SLOT, SLOT, 9)
        controller.release(VA, SLOT)
        telemetry = controller.telemetry()
    names = ("current_step", "step_count", "hot_count", "evict_count", "prefetch_count", "share_count", "last_va")
    assert [telemetry[name] for name in names] == [7, 2, 1, 1, 1, 1, VA + 2 * SLOT]
    found = dut.dump()
    assert [e["ref_count"] for e in found] == [0, 1, 0, 0] and found[0]["pinned"] and found[2]["access_step"] == 9


def test_controller_refusals(device):
    controller = KvCpuController(device)
    for call in (controller.mark_hot, controller.evict, controller.share_prefix, controller.release):
        with pytest.raises(DeviceRefused, match="ERR_LEN"):
            call(VA, 0)
    controller.advance_decode_step(5)
    with pytest.raises(DeviceRefused, match="ERR_STEP_ORDER"):
        controller.advance_decode_step(4)
    with pytest.raises(DeviceRefused, match="ERR_STEP_ORDER"):
        controller.prefetch(VA, SLOT, 4)
    assert controller.step == 5 and controller.advance_decode_step() == 6


def test_a_node_that_is_none(tmp_path):
    with pytest.raises(TargetError, match="No such file"):
        KvCpuController(tmp_path / "kvcpu0")
    (tmp_path / "plain").write_text("")
    with pytest.raises(TargetError, match="GET_TELEMETRY` failed"):
        KvCpuController(tmp_path / "plain")


class FakeNode:
    """fcntl.ioctl on a served device, without FUSE."""

    def __init__(self, device):
        self.device, self.calls = device, []

    def __call__(self, file, request, data):
        from kvfpga.linux import ioctls

        ioctl = ioctls.IOCTLS[request]
        self.calls.append(ioctl.name)
        assert len(data) == ioctl.layout.size
        if ioctl is ioctls.GET_TELEMETRY:
            return ioctls.pack_telemetry(ioctls.telemetry(self.device.telemetry(), self.device.settings()))
        for command in ioctls.commands(ioctl, data):
            code = self.device.execute(command).code
            if code != "OK":
                raise OSError(ioctls.ERRNO[code], "Invalid argument")
        return data


def test_closing_a_controller_again_leaves_other_files_alone(device, tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.ioctl", FakeNode(device))
    (tmp_path / "kvcpu0").write_text("")
    controller = KvCpuController(tmp_path / "kvcpu0")
    controller.close()
    with open(tmp_path / "other", "w") as other:  # which gets the number that has become free
        controller.close()
        other.write("still open")
    with pytest.raises(TargetError, match="closed"):
        controller.advance_decode_step(3)


def test_controller_over_a_node(device, tmp_path, monkeypatch):
    node = FakeNode(device)
    monkeypatch.setattr("fcntl.ioctl", node)
    (tmp_path / "kvcpu0").write_text("")
    with KvCpuController(tmp_path / "kvcpu0") as controller:
        controller.advance_decode_step(3)
        controller.mark_hot(VA, SLOT)
        controller.evict(VA, SLOT)
        controller.prefetch(VA, SLOT, 4)
        controller.share_prefix(VA, SLOT)
        controller.release(VA, SLOT)  # has no ioctl
        assert node.calls == ["GET_TELEMETRY", "STEP_ADVANCE", "MARK_HOT", "EVICT", "PREFETCH", "SHARE_PREFIX"]
        telemetry = controller.telemetry()
        assert telemetry["current_step"] == 3 and telemetry["share_count"] == 1 and telemetry["evict_thresh"] == 0x1000
        with pytest.raises(DeviceRefused, match="`hot .*Invalid argument"):
            controller.mark_hot(VA, 0)
        with pytest.raises(UsageError, match="64 bits"):
            controller.mark_hot(VA, 1 << 64)
        pool = KvCpuBlockAllocator(Pool(8), controller)
        blocks = pool.get_new_blocks(2)
        pool.touch(blocks)
        pool.free_blocks(blocks)
        assert node.calls[-2:] == ["SHARE_PREFIX"] * 2


# ---- block pool ------------------------------------------------------------------------------------------------------


def test_allocate_share_release_free(device):
    pool = KvCpuBlockAllocator(Pool(8), KvCpuController(device))
    assert pool.get_num_free_blocks() == 7 and pool.null_block.is_null  # everything else is the pool's
    blocks = pool.get_new_blocks(3)
    assert sorted(entries(device)) == [1, 2, 3]
    blocks[0].block_hash = blocks[1].block_hash = "cached"
    pool.touch(blocks[:2])
    assert [entries(device)[i]["ref_count"] for i in (1, 2, 3)] == [1, 1, 0]
    pool.free_blocks(reversed(blocks))
    assert [(i, e["ref_count"]) for i, e in sorted(entries(device).items())] == [(1, 0), (2, 0)]  # 3 held nothing to keep
    pool.free_blocks(blocks[:2])
    assert sorted(entries(device)) == [1, 2]  # cached: they stay
    pool.touch([blocks[0], pool.null_block])
    pool.evict_blocks({1, 2, 7})
    assert (entries(device)[1]["tier"], entries(device)[2]["tier"]) == (1, 2)  # 1 is in use, so it is guarded
    assert pool.reset_prefix_cache() is False and len(entries(device)) == 2
    pool.free_blocks([blocks[0]])
    assert pool.reset_prefix_cache() is True and entries(device) == {}


def test_a_block_that_is_used_again_is_loaded_anew(device):
    pool = KvCpuBlockAllocator(Pool(4), KvCpuController(device))
    first = pool.get_new_blocks(3)
    for block in first:
        block.block_hash = "cached"
    pool.touch([first])  # older releases: a list for each group
    pool.free_blocks(first)
    pool.free_blocks(first)
    device.execute_many([])
    pool.controller.advance_decode_step(9)
    pool.get_new_blocks(2)
    assert {i: e["access_step"] for i, e in entries(device).items()} == {1: 9, 2: 9, 3: 0}
    assert all(e["ref_count"] == 0 for e in entries(device).values())


def test_blocks_from_before(device):
    """The pool was in use when the device came."""
    inner = Pool(4)
    old = inner.get_new_blocks(1)
    pool = KvCpuBlockAllocator(inner, KvCpuController(device))
    pool.touch(old)
    assert entries(device)[1]["ref_count"] == 1
    pool.free_blocks(old)
    assert entries(device)[1]["ref_count"] == 0


def test_what_is_freed_behind_its_back(device):
    """Somebody kept a reference to the pool itself: the block is not stuck in the directory."""
    pool = KvCpuBlockAllocator(Pool(3), KvCpuController(device))
    blocks = pool.get_new_blocks(2)
    pool.touch(blocks)
    pool.inner.free_blocks(blocks * 2)
    assert [block.block_id for block in pool.get_new_blocks(2)] == [1, 2]
    assert [e["ref_count"] for e in entries(device).values()] == [0, 0]


def test_random_traffic_keeps_counts(device):
    """ref_count is always the number of users beyond the one that allocated, and no block of another tenant is left."""
    r = random.Random(3)
    pool = KvCpuBlockAllocator(Pool(40), KvCpuController(device))
    users: list[list] = []
    for number in range(400):
        action = r.random()
        if action < 0.4 and pool.get_num_free_blocks() > 4:
            blocks = pool.get_new_blocks(r.randint(1, 4))
            for block in blocks:
                block.block_hash = number if r.random() < 0.7 else None
            users.append(blocks)
        elif action < 0.6 and users:
            shared = [block for block in r.choice(users) if block.block_hash is not None]
            pool.touch(shared)
            users.append(shared)
        elif users:
            pool.free_blocks(users.pop(r.randrange(len(users))))
        if number % 7 == 0:
            pool.controller.advance_decode_step()
    found = entries(device)
    assert max(block.ref_cnt for block in pool.blocks) > 2
    for block in pool.blocks[1:]:
        assert (block.block_id in found) == (block.ref_cnt > 0 or block.block_hash is not None)
        if block.ref_cnt:
            assert found[block.block_id]["ref_count"] in (block.ref_cnt, block.ref_cnt - 1)
        elif block.block_id in found:
            assert found[block.block_id]["ref_count"] == 0
    assert device.telemetry()["release_refusals"] == device.telemetry()["guards"] == 0


def test_own_addresses(device):
    pool = KvCpuBlockAllocator(Pool(4), KvCpuController(device), va_of=lambda block_id: VA + 0x10_0000 * block_id)
    pool.get_new_blocks(2)
    assert [entry["va"] for entry in device.dump()] == [VA + 0x10_0000, VA + 0x20_0000]


def test_what_is_no_pool(device):
    controller = KvCpuController(device)
    with pytest.raises(UsageError, match="object has no get_new_blocks, touch, free_blocks"):
        KvCpuBlockAllocator(object(), controller)
    with pytest.raises(UsageError, match="pool has 257 blocks, the device 256 entries"):
        KvCpuBlockAllocator(Pool(257), controller)
    with pytest.raises(UsageError, match="no scheduler"):
        attach(object(), controller)


# ---- scheduler -------------------------------------------------------------------------------------------------------


def test_attach(device):
    pool = Pool(16)
    managers = [SimpleNamespace(block_pool=pool), SimpleNamespace(block_pool=pool)]
    coordinator = SimpleNamespace(block_pool=pool, single_type_managers=tuple(managers))
    outputs = iter([3, 0, 1])

    def schedule():
        managers[0].block_pool.get_new_blocks(1)
        return SimpleNamespace(total_num_scheduled_tokens=next(outputs))

    manager = SimpleNamespace(block_pool=pool, coordinator=coordinator)
    scheduler = SimpleNamespace(kv_cache_manager=manager, schedule=schedule)
    controller = KvCpuController(device)
    allocator = attach(scheduler, controller)
    holders = (manager, coordinator, *managers)
    assert all(holder.block_pool is allocator for holder in holders) and allocator.inner is pool
    assert [scheduler.schedule().total_num_scheduled_tokens for _ in range(3)] == [3, 0, 1]
    assert controller.step == device.telemetry()["current_step"] == 2  # a schedule of nothing is no decode step
    assert len(entries(device)) == 3


def test_vllm_is_not_imported():
    code = "import kvfpga.integrations.vllm, sys; assert not {'vllm', 'zmq', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
