"""A KV-CPU beside vLLM's block pool: hints from the scheduler and the prefix cache, in the process that runs the engine.

    import kvfpga
    from kvfpga.integrations.vllm import KvCpuController, attach

    controller = KvCpuController(kvfpga.open("sim"))         # or KvCpuController("/dev/kvcpu0")
    attach(scheduler, controller)                            # vllm.v1.core.sched.scheduler.Scheduler

`KvCpuController` is the device as a runtime sees it. `KvCpuBlockAllocator` stands in for the block pool and tells the
controller what the pool does; `attach` puts one into a scheduler and advances the decode step once for each `schedule()` that
scheduled anything.

    get_new_blocks   LOAD: one entry a block; what it held before is unloaded
    touch            SHARE_PREFIX: a cached prefix block has one user more
    free_blocks      RELEASE: one less; a block that nobody uses and that is not in the prefix cache is unloaded
    evict_blocks     EVICT
    reset_prefix_cache   RELEASE and UNLOAD of all

Everything else of the pool is untouched. The methods are those of `vllm.v1.core.block_pool.BlockPool` (docs/vllm.md says which
releases were read); nothing of vLLM is imported, so any pool with these methods will do. To follow a server in another process
instead: `kvfpga follow`.

The node /dev/kvcpu0 has no LOAD, UNLOAD or RELEASE: through it these are left out, and `kvfpga serve --auto-load` loads blocks
when hints first name them. Not for several threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...contract import script
from ...contract.commands import Command, Evict, Hot, Load, Prefetch, Release, Share, Step, Unload
from ...contract.errors import DeviceRefused, TargetError, UsageError

if TYPE_CHECKING:
    from ...linux.ioctls import Ioctl
    from ...lockstep.lockstep import Lockstep
    from ...lockstep.reference import Reference

NODE = "/dev/kvcpu0"
VA_BASE = 0x30_0000_0000
BLOCK_BYTES, BLOCK_TOKENS = 16384, 32
"""Of the full device; a node does not say its own."""
REQUEST = 1
"""The pool does not say for whom it allocates: all its blocks are loaded as this request's."""


class KvCpuController:
    """Hints to one device: a kvfpga device (`kvfpga.open`), or the path of a /dev/kvcpu0 node. Ranges are bytes of host virtual
    addresses. DeviceRefused where the device refuses (LEN 0, a step that goes back…), TargetError where it fails."""

    def __init__(self, device: Lockstep | Reference | str | os.PathLike[str] = NODE):
        self._link: _Node | _Device
        self.entries: int | None
        if isinstance(device, (str, os.PathLike)):
            self._link = _Node(device)
            self.block_bytes, self.block_tokens, self.entries = BLOCK_BYTES, BLOCK_TOKENS, None
        else:
            self._link = _Device(device)
            self.block_bytes, self.block_tokens, self.entries = device.block_bytes, device.model.block_tokens, device.entries
        self.step = self.telemetry()["current_step"]

    def advance_decode_step(self, step: int | None = None) -> int:
        """To be called once a decode step: the device scores its blocks. `step` None: one further. The step that it is now."""
        step = self.step + 1 if step is None else step
        self.run(Step(step))
        self.step = step
        return step

    def mark_hot(self, va: int, length: int) -> None:
        self.run(Hot(va, length))

    def evict(self, va: int, length: int) -> None:
        self.run(Evict(va, length))

    def prefetch(self, va: int, length: int, target_step: int) -> None:
        self.run(Prefetch(va, length, target_step))

    def share_prefix(self, va: int, length: int) -> None:
        self.run(Share(va, length))

    def release(self, va: int, length: int) -> None:
        self.run(Release(va, length))

    def telemetry(self) -> dict[str, int]:
        """The counters by their names in R23; of a node, what its GET_TELEMETRY has."""
        return self._link.telemetry()

    def run(self, *commands: Command) -> None:
        """Commands in one batch."""
        if commands:
            self._link.run(commands)

    def close(self) -> None:
        """Let go of a node; a device is its owner's to close."""
        self._link.close()

    def __enter__(self) -> KvCpuController:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Device:
    def __init__(self, device: Lockstep | Reference):
        self._device = device
        self.telemetry = device.telemetry

    def run(self, commands: Sequence[Command]) -> None:
        for command, result in zip(commands, self._device.execute_many(commands)):
            if result.code != "OK":
                raise DeviceRefused(result.code, f"`{script.line(command)}` was refused: {result.code}")

    def close(self) -> None:
        pass


class _Node:
    """The ioctls of contract section 7. Commands that have none are left out."""

    def __init__(self, path: str | os.PathLike[str]):
        from ...linux import ioctls

        self._ioctls = ioctls
        self._ioctl_of = {
            Step: ioctls.STEP_ADVANCE, Hot: ioctls.MARK_HOT, Evict: ioctls.EVICT, Prefetch: ioctls.PREFETCH,
            Share: ioctls.SHARE_PREFIX,
        }  # fmt: skip
        self._path = os.fspath(path)
        try:
            self._file = open(self._path, "r+b", buffering=0)  # noqa: SIM115  # until `close`
        except OSError as error:
            raise TargetError(
                f"cannot open {self._path}: {error.strerror}", f"`kvfpga serve --uapi {self._path}` makes it"
            ) from error

    def run(self, commands: Sequence[Command]) -> None:
        for command in commands:
            ioctl = self._ioctl_of.get(type(command))
            if ioctl is None:
                continue
            values = tuple(vars(command).values())
            if ioctl is not self._ioctls.STEP_ADVANCE:
                values = (*values, 0)[:3]  # target_step means nothing but to PREFETCH
            if not all(0 <= value < 1 << 64 for value in values):
                raise UsageError(f"`{script.line(command)}`: a value does not fit into 64 bits")
            self._call(ioctl, ioctl.layout.pack(*values), script.line(command))

    def telemetry(self) -> dict[str, int]:
        ioctl = self._ioctls.GET_TELEMETRY
        data = self._call(ioctl, bytes(ioctl.layout.size), "GET_TELEMETRY")
        return dict(zip((*self._ioctls.COUNTERS, *self._ioctls.SETTINGS), ioctl.layout.unpack(data)))

    def _call(self, ioctl: Ioctl, data: bytes, what: str) -> bytes:
        import errno
        import fcntl

        if self._file.closed:
            raise TargetError(f"{self._path}: `{what}` failed: this controller is closed", "make another one")
        try:
            return fcntl.ioctl(self._file, ioctl.request, data)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSPC):
                code = "ERR_FULL" if error.errno == errno.ENOSPC else "ERR_RANGE"
                raise DeviceRefused(code, f"{self._path}: `{what}` was refused: {error.strerror}") from error
            raise TargetError(
                f"{self._path}: `{what}` failed: {error.strerror}", "is the server still there? Its own output says why"
            ) from error

    def close(self) -> None:
        self._file.close()


class KvCpuBlockAllocator:
    """Stands in for the block pool `inner`. `va_of` says where a block's bytes are, by its id; the default is a window of virtual
    addresses from `va_base` on. Blocks of the pool are as large as the device's, whatever they are to vLLM."""

    METHODS = ("get_new_blocks", "touch", "free_blocks")

    def __init__(
        self, inner: Any, controller: KvCpuController, va_of: Callable[[int], int] | None = None, va_base: int = VA_BASE
    ):
        missing = [name for name in self.METHODS if not callable(getattr(inner, name, None))]
        if missing:
            raise UsageError(
                f"{type(inner).__name__} has no {', '.join(missing)}: it is no block pool",
                "give vLLM's BlockPool, such as scheduler.kv_cache_manager.block_pool",
            )
        blocks = getattr(inner, "num_gpu_blocks", 0)
        if controller.entries is not None and blocks > controller.entries:
            raise UsageError(
                f"the pool has {blocks} blocks, the device {controller.entries} entries",
                "start vLLM with fewer (--num-gpu-blocks-override), or take a larger device",
            )
        self.inner, self.controller = inner, controller
        self._va_of = va_of or (lambda block_id: va_base + block_id * controller.block_bytes)
        self._shares: dict[int, int] = {}  # block id → users beyond the first; of every block that is loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def get_new_blocks(self, *args: Any, **kwargs: Any) -> Any:
        found = self.inner.get_new_blocks(*args, **kwargs)
        commands: list[Command] = []
        for block_id in _ids(found):
            commands += self._forget(block_id)
            commands.append(self._load(block_id))
            self._shares[block_id] = 0
        self.controller.run(*commands)
        return found

    def touch(self, blocks: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        blocks = list(blocks)
        found = self.inner.touch(blocks, *args, **kwargs)
        ids = list(_ids(blocks))
        commands: list[Command] = []
        for block_id in ids:
            if block_id not in self._shares:  # the pool was in use before the device came
                commands.append(self._load(block_id))
            self._shares[block_id] = self._shares.get(block_id, 0) + 1
        self.controller.run(*commands, *(Share(*self._range(block_id)) for block_id in ids))
        return found

    def free_blocks(self, ordered_blocks: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        blocks = list(ordered_blocks)
        found = self.inner.free_blocks(blocks, *args, **kwargs)
        commands: list[Command] = []
        for block in _flat(blocks):
            block_id = block.block_id
            if self._shares.get(block_id):
                self._shares[block_id] -= 1
                commands.append(Release(*self._range(block_id)))
            if getattr(block, "ref_cnt", 1) == 0 and getattr(block, "block_hash", None) is None:
                commands += self._forget(block_id)
        self.controller.run(*commands)
        return found

    def evict_blocks(self, block_ids: Iterable[int], *args: Any, **kwargs: Any) -> Any:
        block_ids = set(block_ids)
        found = self.inner.evict_blocks(block_ids, *args, **kwargs)
        self.controller.run(*(Evict(*self._range(block_id)) for block_id in sorted(block_ids) if block_id in self._shares))
        return found

    def reset_prefix_cache(self, *args: Any, **kwargs: Any) -> Any:
        found = self.inner.reset_prefix_cache(*args, **kwargs)
        if found:  # False: blocks are in use, and nothing was reset
            self.controller.run(*(command for block_id in list(self._shares) for command in self._forget(block_id)))
        return found

    def _range(self, block_id: int) -> tuple[int, int]:
        return self._va_of(block_id), self.controller.block_bytes

    def _load(self, block_id: int) -> Load:
        """The key is the block's id: 16 bits in layer and head, the rest in token_start."""
        tokens = self.controller.block_tokens
        start = (block_id >> 16) * tokens
        return Load(REQUEST, block_id >> 8 & 0xFF, block_id & 0xFF, start, start + tokens - 1, self._va_of(block_id))

    def _forget(self, block_id: int) -> list[Command]:
        """Unload a block, if it is loaded, whoever used it."""
        shares = self._shares.pop(block_id, None)
        if shares is None:
            return []
        return [*[Release(*self._range(block_id))] * shares, Unload(*self._range(block_id))]


def attach(
    scheduler: Any, controller: KvCpuController, va_of: Callable[[int], int] | None = None, va_base: int = VA_BASE
) -> KvCpuBlockAllocator:
    """Put a `KvCpuBlockAllocator` in the place of a scheduler's block pool, wherever that is referred to, and a decode step
    before each `schedule()` returns that has scheduled tokens. To be called before the first request."""
    manager = getattr(scheduler, "kv_cache_manager", None)
    pool = getattr(manager, "block_pool", None)
    if pool is None or not callable(getattr(scheduler, "schedule", None)):
        raise UsageError(
            f"{type(scheduler).__name__} has no kv_cache_manager.block_pool and schedule(): it is no scheduler of vLLM's V1 "
            "engine"
        )
    allocator = KvCpuBlockAllocator(pool, controller, va_of, va_base)
    coordinator = getattr(manager, "coordinator", None)
    for holder in (manager, coordinator, *getattr(coordinator, "single_type_managers", ())):
        if getattr(holder, "block_pool", None) is pool:
            holder.block_pool = allocator
    schedule = scheduler.schedule

    def stepping(*args: Any, **kwargs: Any) -> Any:
        output = schedule(*args, **kwargs)
        if getattr(output, "total_num_scheduled_tokens", 1):
            controller.advance_decode_step()
        return output

    scheduler.schedule = stepping
    return allocator


def _flat(blocks: Iterable[Any]) -> Iterator[Any]:
    """Blocks of one group or of several (older releases nest them), without the null block."""
    for block in blocks:
        if not hasattr(block, "block_id"):
            yield from _flat(block)
        elif not getattr(block, "is_null", False):
            yield block


def _ids(blocks: Iterable[Any]) -> Iterator[int]:
    return (block.block_id for block in _flat(blocks))
