"""vLLM's interface for KV connectors as its releases have it (docs/vllm.md), and a scheduler that calls it as vLLM's does.

`interface` is a module to stand where `vllm.distributed.kv_transfer.kv_connector.v1.base` is imported from; `without` names what
an older release lacks. `Scheduler` runs up to `most` requests at once; each step is a decode step for all that run.
"""

from __future__ import annotations

import enum
import hashlib
import types
from abc import ABC, abstractmethod
from collections import deque
from types import SimpleNamespace

BASE = "vllm.distributed.kv_transfer.kv_connector.v1.base"


def interface(*without: str) -> types.ModuleType:
    class KVConnectorRole(enum.Enum):
        SCHEDULER = 0
        WORKER = 1

    class KVConnectorMetadata(ABC):  # noqa: B024
        pass

    class SupportsHMA(ABC):
        @abstractmethod
        def request_finished_all_groups(self, request, block_ids): ...

    class KVConnectorBase_V1(ABC):
        def __init__(self, vllm_config, role, kv_cache_config=None):
            self._role = role

        @property
        def requires_kv_delivery(self):
            return True

        def on_new_request(self, request):
            return None

        def bind_gpu_block_pool(self, gpu_block_pool):
            return None

        def request_finished(self, request, block_ids):
            return False, None

        def shutdown(self):
            return None

        @abstractmethod
        def start_load_kv(self, forward_context, **kwargs): ...
        @abstractmethod
        def wait_for_layer_load(self, layer_name): ...
        @abstractmethod
        def save_kv_layer(self, layer_name, kv_layer, attn_metadata, **kwargs): ...
        @abstractmethod
        def wait_for_save(self): ...
        @abstractmethod
        def get_num_new_matched_tokens(self, request, num_computed_tokens): ...
        @abstractmethod
        def update_state_after_alloc(self, request, blocks, num_external_tokens): ...
        @abstractmethod
        def build_connector_meta(self, scheduler_output): ...

    module = types.ModuleType(BASE)
    for one in (KVConnectorRole, KVConnectorMetadata, SupportsHMA, KVConnectorBase_V1):
        if one.__name__ not in without:
            setattr(module, one.__name__, one)
    for name in without:
        if hasattr(KVConnectorBase_V1, name):
            delattr(KVConnectorBase_V1, name)
    return module


def config(extra: dict, block_size: int = 16) -> SimpleNamespace:
    """Of an engine, as far as a connector asks."""
    return SimpleNamespace(
        kv_transfer_config=SimpleNamespace(kv_connector_extra_config=extra), cache_config=SimpleNamespace(block_size=block_size)
    )


class Request:
    """`prompt` tokens; `answers` says how many come. Blocks are named by a hash over all tokens up to their ends."""

    def __init__(self, request_id: str, prompt: list[int], answers: int, block_size: int = 16, final: object = None):
        self.request_id, self.tokens, self.num_prompt_tokens, self.answers = request_id, list(prompt), len(prompt), answers
        self.kv_transfer_params = None if final is None else {"kvfpga_final": final}
        self._block_size = block_size

    @property
    def num_output_tokens(self) -> int:
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def block_hashes(self) -> list[bytes]:
        ends = range(self._block_size, len(self.tokens) + 1, self._block_size)
        return [hashlib.sha256(repr(self.tokens[:end]).encode()).digest() for end in ends]


class Scheduler:
    def __init__(self, connector, most: int = 4):
        self.connector, self.most = connector, most
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []

    def add_request(self, request: Request) -> None:
        self.waiting.append(request)
        if hasattr(self.connector, "on_new_request"):
            self.connector.on_new_request(request)

    def step(self) -> None:
        while self.waiting and len(self.running) < self.most:
            request = self.waiting[0]
            assert self.connector.get_num_new_matched_tokens(request, 0) == (0, False)
            self.connector.update_state_after_alloc(request, None, 0)
            self.running.append(self.waiting.popleft())
        self.connector.build_connector_meta(SimpleNamespace(total_num_scheduled_tokens=len(self.running)))
        for request in list(self.running):
            request.tokens.append(1000 + request.num_output_tokens)
            if request.num_output_tokens == request.answers:
                self.finish(request)

    def finish(self, request: Request) -> None:
        """Also one that is aborted while it waits."""
        for queue in (self.running, self.waiting):
            if request in queue:
                queue.remove(request)
        assert self.connector.request_finished(request, []) == (False, None)

    def drain(self) -> None:
        while self.running or self.waiting:
            self.step()
