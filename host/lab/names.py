"""Names that the lab knows, in a module that imports nothing: a shell asks for them at every TAB (cli/completing.py).

`tests/lab/test_names.py` holds them to the tables of policies (policies/contenders.py) and of traffic (generated/).
"""

from __future__ import annotations

GENERATED = "generated:"
SAMPLE_NAME = "sample"
TRAFFIC = ("documents", "batches", "agents", "sessions", "chats")
"""What may stand behind GENERATED."""
POLICIES = (
    "lru", "fifo", "lfu", "arc", "clock", "random", "lruk", "s3fifo", "sieve", "lirs", "twoq", "slru", "mq", "wtinylfu", "lecar",
    "lfuda", "clockpro", "clock2qplus", "cacheus", "lruprob", "gdsf", "hyperbolic", "lhd", "optimal", "linear:seed",
    "linear:balanced", "ranked-age", "ranked", "ranked+final", "ranked+announce", "ranked+final+announce",
)  # fmt: skip
