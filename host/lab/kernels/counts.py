"""What a kernel counts in its `numbers`: blocks in tier 1, then the numbers of compiled.Outcome, then what a sample shows."""

USED, PLACED, PREFETCHES, EVICTIONS, STEPS, SEARCHED, THETA, POOL = range(8)
COUNTS = 8
