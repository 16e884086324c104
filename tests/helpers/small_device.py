"""The small device that most tests use: its model builds and runs fastest, and every rule is the same."""

ENTRIES, LANES, DATA_BITS = 256, 4, 128
