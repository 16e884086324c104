"""The engine of follow.py, in vLLM's own environment: a tiny model with random weights, its requests, its block pool.

A line on stdin is a round, {"prompts": [[token, …], …], "tokens": N, "reset": …}; a line on stdout is what the pool holds then:
{"published": batches so far, "blocks": [[group, hash, copies], …]}. The first line comes once it is there.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the pool is in this process
    "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
}  # fmt: skip
BLOCK_SIZE = 32
"""Tokens: the CPU's attention takes no fewer."""


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

    def __init__(self, model: Path, blocks: int, endpoint: str, replay: str):
        from vllm import LLM
        from vllm.config import KVEventsConfig

        events = KVEventsConfig(enable_kv_cache_events=True, publisher="zmq", endpoint=endpoint, replay_endpoint=replay)
        self.llm = LLM(
            str(model), skip_tokenizer_init=True, dtype="bfloat16", max_model_len=1024, max_num_seqs=8, block_size=BLOCK_SIZE,
            num_gpu_blocks_override=blocks, enforce_eager=True, enable_prefix_caching=True, kv_events_config=events,
        )  # fmt: skip
        self.scheduler = self.llm.llm_engine.engine_core.engine_core.scheduler
        self.pool = self.scheduler.kv_cache_manager.block_pool
        self.published = 0
        publisher = self.scheduler.kv_event_publisher
        publish = publisher.publish

        def counted(events: object) -> None:
            publish(events)
            self.published += 1

        publisher.publish = counted

    def round(self, prompts: list[list[int]], tokens: int, reset: bool) -> None:
        from vllm import SamplingParams

        if reset and not self.llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache was not reset")
        asked = SamplingParams(max_tokens=tokens, temperature=1.0, ignore_eos=True, detokenize=False)
        self.llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], asked, use_tqdm=False)

    def found(self) -> dict[str, object]:
        """By the pool alone: every block that has a hash. (Its map from hashes to blocks is looked at as well.)"""
        from vllm.v1.core.kv_cache_utils import get_block_hash, get_group_id, maybe_convert_block_hash

        keys = Counter(block.block_hash for block in self.pool.blocks if block.block_hash is not None)
        if set(keys) != set(self.pool.cached_block_hash_to_block._cache):
            raise RuntimeError("blocks and map of the pool do not agree")
        blocks = [[get_group_id(key), maybe_convert_block_hash(get_block_hash(key)), copies] for key, copies in keys.items()]
        return {"published": self.published, "blocks": sorted(blocks)}


def main(model: Path, blocks: int, endpoint: str, replay: str) -> None:
    os.environ.update(ENVIRONMENT)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints
    if not (model / "config.json").exists():
        make_model(model)
    engine = Engine(model, blocks, endpoint, replay)
    print(json.dumps(engine.found()), file=out, flush=True)
    for line in sys.stdin:
        engine.round(**json.loads(line))
        print(json.dumps(engine.found()), file=out, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
