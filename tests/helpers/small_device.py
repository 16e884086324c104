"""The devices that most tests use, so that few models are built.

The small one builds and runs fastest, and every rule is the same. The least one has the size of the bring-up build of a UART
board: one lane, 256 bytes a block, 16 classes, no compute engine. The wide one has as many rows as the small one.
"""

ENTRIES, LANES, DATA_BITS = 256, 4, 128

SMALL = {"entries": ENTRIES, "lanes": LANES, "data_bits": DATA_BITS}
ONE_LANE = {"entries": ENTRIES, "lanes": 1, "data_bits": DATA_BITS}
LEAST = {"entries": 256, "lanes": 1, "data_bits": 64, "block_tokens": 32, "head_dim": 2, "classes": 16}
WIDE = {"entries": 1024, "lanes": 16, "data_bits": 128}
