"""The engine of follow.py and ranked.py, in vLLM's own environment: a tiny model with random weights, requests, its block pool.

A line on stdin is a round, {"prompts": [[token, …], …], "tokens": N, "reset": …, "final": [place, …]}; prompts at the places
`final` say that their session ends. A line on stdout is what the pool holds then: {"published": batches so far, "blocks":
[[group, hash, copies], …], "answers": [[token, …], …], "cached": tokens of the prompts that it had}. The first one comes once it
is there.

With the extra configuration of a `KvCpuConnector` that runs in the engine, and a line has "decided", its figures, as well.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the pool is in this process
    "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
}  # fmt: skip
BLOCK_SIZE = 32
"""Tokens: the CPU's attention takes no fewer."""
FINAL_CLASSES = 8
"""The last ones of 256 (kvfpga.policy.classes)."""


def make_model(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=2048, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


class Engine:
    """`blocks` of them are in the pool."""

    def __init__(self, model: Path, blocks: int, endpoint: str, replay: str, connector: dict[str, Any] | None):
        from vllm import LLM
        from vllm.config import KVEventsConfig, KVTransferConfig

        events = KVEventsConfig(enable_kv_cache_events=True, publisher="zmq", endpoint=endpoint, replay_endpoint=replay)
        transfer = connector and KVTransferConfig(
            kv_connector="KvCpuConnector", kv_connector_module_path="kvfpga.integrations.vllm.connector", kv_role="kv_both",
            kv_connector_extra_config=connector,
        )  # fmt: skip
        self.llm = LLM(
            str(model), skip_tokenizer_init=True, dtype="bfloat16", max_model_len=1024, max_num_seqs=8, block_size=BLOCK_SIZE,
            num_gpu_blocks_override=blocks, enforce_eager=True, enable_prefix_caching=True, kv_events_config=events,
            kv_transfer_config=transfer,
        )  # fmt: skip
        self.scheduler = self.llm.llm_engine.engine_core.engine_core.scheduler
        self.pool = self.scheduler.kv_cache_manager.block_pool
        self.published, self.answers, self.cached = 0, [], 0
        publisher = self.scheduler.kv_event_publisher
        publish = publisher.publish

        def counted(events: object) -> None:
            publish(events)
            self.published += 1

        publisher.publish = counted

    def round(self, prompts: list[list[int]], tokens: int, reset: bool = False, final: tuple[int, ...] = ()) -> None:
        from vllm import SamplingParams

        def asked(said: dict[str, Any] | None) -> SamplingParams:
            more = said and {"kv_transfer_params": said}
            return SamplingParams(max_tokens=tokens, temperature=1.0, ignore_eos=True, detokenize=False, extra_args=more)

        if reset and not self.llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache was not reset")
        how = [asked({"kvfpga_final": True} if place in final else None) for place in range(len(prompts))]
        found = self.llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], how, use_tqdm=False)
        self.answers = [list(one.outputs[0].token_ids) for one in found]
        self.cached = sum(one.num_cached_tokens or 0 for one in found)

    def found(self) -> dict[str, object]:
        """By the pool alone: every block that has a hash. (Its map from hashes to blocks is looked at as well.)"""
        from vllm.v1.core.kv_cache_utils import get_block_hash, get_group_id, maybe_convert_block_hash

        keys = Counter(block.block_hash for block in self.pool.blocks if block.block_hash is not None)
        if set(keys) != set(self.pool.cached_block_hash_to_block._cache):
            raise RuntimeError("blocks and map of the pool do not agree")
        blocks = [[get_group_id(key), maybe_convert_block_hash(get_block_hash(key)), copies] for key, copies in keys.items()]
        return {
            "published": self.published, "blocks": sorted(blocks), "answers": self.answers, "cached": self.cached,
            "decided": self.decided(),
        }  # fmt: skip

    def decided(self) -> dict[str, Any] | None:
        """What the device was told and did, as it says itself."""
        connector = self.scheduler.get_kv_connector()
        if connector is None:
            return None
        device, placement = connector.device, connector.hooks.placement
        placement.verify()
        entries, classes = device.dump(), device.model.classes
        return {
            **placement.figures(), "telemetry": device.telemetry(), "checks": device.checks, "differences": device.differences,
            "final_blocks": sum(entry["class"] >= classes - FINAL_CLASSES for entry in entries), "entries": len(entries),
        }  # fmt: skip


def main(model: Path, blocks: int, endpoint: str, replay: str, connector: str = "null") -> None:
    os.environ.update(ENVIRONMENT)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints
    if not (model / "config.json").exists():
        make_model(model)
    engine = Engine(model, blocks, endpoint, replay, json.loads(connector))
    print(json.dumps(engine.found()), file=out, flush=True)
    for line in sys.stdin:
        engine.round(**json.loads(line))
        print(json.dumps(engine.found()), file=out, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
