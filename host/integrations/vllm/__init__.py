"""vLLM: its prefix cache followed from outside (`kvfpga follow`), and a KV-CPU told of its requests from inside (docs/vllm.md).
None of it needs vLLM to be installed but connector.py, which vLLM loads."""

from .allocator import KvCpuBlockAllocator as KvCpuBlockAllocator
from .allocator import KvCpuController as KvCpuController
from .allocator import attach as attach
from .hooks import Hooks as Hooks
from .placing import Placement as Placement
