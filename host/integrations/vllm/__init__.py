"""vLLM: its prefix cache mirrored on a KV-CPU (`follow`), and its block allocator driving one (docs/vllm.md)."""

from .allocator import KvCpuBlockAllocator as KvCpuBlockAllocator
from .allocator import KvCpuController as KvCpuController
from .allocator import attach as attach
