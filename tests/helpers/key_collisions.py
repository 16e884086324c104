"""Keys that the key index cannot tell apart: they fall into the same bucket of all four ways (fpga/rtl/rtbd/kvcpu_key_index.sv).

Each hash bit is the parity of half the key's bits, so hashing is linear over GF(2): whatever lies in the kernel of all
rows together can be XORed into a key without moving it. The rows are words of splitmix64, as the RTL's header says.
"""

from __future__ import annotations

WAYS, SLOTS, TOKEN_BITS = 4, 2, 5
KEY_BITS = 64 - TOKEN_BITS
REQUEST_LOW = 32 - TOKEN_BITS
REQUEST_MASK = 0xFFFF << REQUEST_LOW
MASK64 = (1 << 64) - 1
Key = tuple[int, int, int, int]
"""request, layer, head, token_start."""


def rows(entries: int) -> list[int]:
    """One mask over the key for each hash bit of each way."""
    found = []
    for i in range(WAYS * ((entries // WAYS).bit_length() - 1)):
        z = (i + 1) * 0x9E3779B97F4A7C15 & MASK64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK64
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK64
        found.append((z ^ z >> 31) & (1 << KEY_BITS) - 1)
    return found


def kernel(masks: list[int]) -> list[int]:
    """A basis of all x with even parity under every mask."""
    basis: dict[int, int] = {}  # pivot bit → reduced row
    for mask in masks:
        for pivot, row in basis.items():
            if mask >> pivot & 1:
                mask ^= row
        if mask:
            pivot = mask.bit_length() - 1
            basis = {p: row ^ mask if row >> pivot & 1 else row for p, row in basis.items()}
            basis[pivot] = mask
    free = [bit for bit in range(KEY_BITS) if bit not in basis]
    return [1 << bit | sum(1 << pivot for pivot, row in basis.items() if row >> bit & 1) for bit in free]


def colliding(entries: int, count: int, request: int | None = None) -> list[Key]:
    """`count` keys (request, layer, head, token_start) of one bucket in every way; all of one `request` where given."""
    masks = rows(entries) + ([1 << bit for bit in range(REQUEST_LOW, REQUEST_LOW + 16)] if request is not None else [])
    base = 0x2A << REQUEST_LOW + 16 | (request or 0) << REQUEST_LOW | 0x123456
    vectors = kernel(masks)
    assert count <= 1 << len(vectors)
    keys = []
    for n in range(count):
        key = base
        for bit, vector in enumerate(vectors):
            if n >> bit & 1:
                key ^= vector
        keys.append(key)
    assert len({tuple((key & mask).bit_count() & 1 for mask in rows(entries)) for key in keys}) == 1
    return [unpack(key) for key in keys]


def twins(entries: int, key: Key, mask: int) -> list[Key]:
    """Keys that differ from `key` in bits of `mask` alone (bits of a key as the index holds it) and yet share its bucket: one for
    each way where there is one. To a way that does not look at those bits they are the same key."""
    bits, found = (entries // WAYS).bit_length() - 1, []
    kept = [1 << bit for bit in range(KEY_BITS) if not mask >> bit & 1]
    for way in range(WAYS):
        found += [unpack(packed(key) ^ vector) for vector in kernel(rows(entries)[way * bits : (way + 1) * bits] + kept)[:1]]
    return found


def bucket(entries: int, key: Key, way: int = 0) -> int:
    """Where a way puts a key. Overflows are marked by their bucket in way 0."""
    bits = (entries // WAYS).bit_length() - 1
    masks = rows(entries)[way * bits : (way + 1) * bits]
    return sum((packed(key) & mask).bit_count() % 2 << bit for bit, mask in enumerate(masks))


def packed(key: Key) -> int:
    """layer, head, request, block number: as the index holds it."""
    request, layer, head, token_start = key
    return (layer << 24 | head << 16 | request) << REQUEST_LOW | token_start >> TOKEN_BITS


def unpack(key: int) -> Key:
    """(request, layer, head, token_start) of a key as the index holds it: layer, head, request, block number."""
    id_word = key >> REQUEST_LOW
    return id_word & 0xFFFF, id_word >> 24, id_word >> 16 & 0xFF, (key & (1 << REQUEST_LOW) - 1) << TOKEN_BITS
