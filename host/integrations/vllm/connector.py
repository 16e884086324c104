"""The hooks of hooks.py as a KV connector of vLLM, which its plug-in interface loads; nothing else imports this module.

    vllm serve MODEL --kv-transfer-config '{"kv_connector": "KvCpuConnector", "kv_role": "kv_both",
        "kv_connector_module_path": "kvfpga.integrations.vllm.connector",
        "kv_connector_extra_config": {"target": "tcp://lab3:7300", "t1_capacity": 1024}}'

It moves no blocks: it tells a device what the scheduler queues, runs and ends. The extra configuration is `target` (as `--target`
takes it; a simulation unless it is said), `entries` of sim and model, and what `Hooks` takes: policy, t1_capacity, step_ms,
finals, announces, va_base.

What this vLLM's interface lacks is found out by looking for it, never by its version. Without `on_new_request`, requests are
announced when the scheduler first considers them; requests without `block_hashes` cannot be told of, which is said once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from vllm.distributed.kv_transfer.kv_connector.v1 import base

from ...contract.errors import UsageError
from ...targets.target import parse_target
from .hooks import Hooks

if TYPE_CHECKING:
    from ...lockstep.lockstep import Lockstep
    from ...lockstep.reference import Reference

OPENS = ("target", "entries")
PASSES = ("policy", "t1_capacity", "step_ms", "finals", "announces", "va_base")
_log = logging.getLogger("vllm.kvfpga")


class Nothing(base.KVConnectorMetadata):  # type: ignore[misc]  # vLLM is not here
    """For the workers."""


def _open(settings: dict[str, Any]) -> Lockstep | Reference:
    """The device that the extra configuration names, as it is reset."""
    if unknown := sorted(settings.keys() - {*OPENS, *PASSES}):
        raise UsageError(
            f"kv_connector_extra_config has {', '.join(unknown)}", f"it takes {', '.join((*OPENS, *PASSES))}"
        )
    target = parse_target(settings.get("target"), settings.get("entries"))
    device = target.open()
    if target.is_board:
        device.reset()
    return device


_Hybrid: Any = getattr(base, "SupportsHMA", object)


class KvCpuConnector(base.KVConnectorBase_V1, _Hybrid):  # type: ignore[misc]
    """`hooks` None: of the workers, who have nothing to do."""

    hooks: Hooks | None = None

    def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any = None):
        given = () if kv_cache_config is None else (kv_cache_config,)  # older releases have no third
        super().__init__(vllm_config, role, *given)
        self._announces_late = not hasattr(base.KVConnectorBase_V1, "on_new_request")
        self._was_told = False
        if role == base.KVConnectorRole.SCHEDULER:
            settings = dict(vllm_config.kv_transfer_config.kv_connector_extra_config or {})
            passed = {name: settings[name] for name in PASSES if name in settings}
            self.device = _open(settings)
            self.hooks = Hooks(self.device, vllm_config.cache_config.block_size, **passed)
            if self._announces_late:
                _log.warning("kvfpga: this vLLM does not tell of queued requests: they are announced when first considered")

    @property
    def requires_kv_delivery(self) -> bool:
        return False

    def bind_gpu_block_pool(self, gpu_block_pool: Any) -> None:
        """Before the first request: by how many tokens its blocks have names."""
        if self.hooks and hasattr(gpu_block_pool, "hash_block_size"):
            self.hooks.block_tokens = gpu_block_pool.hash_block_size

    # ---- what the scheduler tells ------------------------------------------------------------------------------------
    def on_new_request(self, request: Any) -> None:
        if hooks := self._for(request):
            hooks.queued(request)

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int, bool]:
        if self._announces_late and (hooks := self._for(request)):
            hooks.queued(request)
        return 0, False

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        if hooks := self._for(request):
            hooks.scheduled(request)

    def build_connector_meta(self, scheduler_output: Any) -> Nothing:
        if self.hooks and scheduler_output.total_num_scheduled_tokens:
            self.hooks.stepped()
        return Nothing()

    def request_finished(self, request: Any, block_ids: Any) -> tuple[bool, None]:
        if hooks := self._for(request):
            hooks.finished(request)
        return False, None

    def request_finished_all_groups(self, request: Any, block_ids: Any) -> tuple[bool, None]:
        return self.request_finished(request, block_ids)

    def reset_cache(self) -> bool:
        if self.hooks:
            self.hooks.cleared()
        return True

    def shutdown(self) -> None:
        """What the device holds is compared with what was placed."""
        hooks, self.hooks = self.hooks, None
        if hooks:
            try:
                hooks.placement.verify()
                _log.info("kvfpga: %s", hooks.placement.figures())
            finally:
                self.device.close()

    def _for(self, request: Any) -> Hooks | None:
        """The hooks, where this request can be told of."""
        if hasattr(request, "block_hashes"):
            return self.hooks
        if self.hooks and not self._was_told:
            self._was_told = True
            _log.warning("kvfpga: requests of this vLLM have no block_hashes, so the device is told nothing")
        return None

    # ---- what workers do: nothing ------------------------------------------------------------------------------------
    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        pass

    def wait_for_layer_load(self, layer_name: str) -> None:
        pass

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:
        pass

    def wait_for_save(self) -> None:
        pass
