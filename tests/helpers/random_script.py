"""Random `.kvfpga` scripts over all commands of contract section 8: what a device must agree about with its reference.

Keys and addresses come from pools, so that blocks are found, overlap and fill the tiers. Keys use their fields' whole range and
differ in one bit, so that whatever leaves out a bit takes two of them for one; now and then a value is one that must be refused.
The same seed gives the same script.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 16384
BASE = 0x7F00_0000_0000
FIELDS = ((0, 16, 0), (1, 8, 0), (2, 8, 0), (3, 32, 5))
"""Of a key: its place in (request, layer, head, token_start), its bits, and how many of them are always 0."""
BORDERS = (0, 1, 255, 256, 0xFFFF, 0x10000, 0xFFFFFFFF, 0x100000000, (1 << 64) - 1)


Key = tuple[int, int, int, int]


def random_tables(folder: Path, seed: int, classes: int = 256) -> list[str]:
    """Tables for the ranked policy: few distinct codes, so that blocks rank alike, and any; with them `age`."""
    rng, names = np.random.default_rng(seed), ["age"]
    for codes in ([5], [0, 255], [0, 1, 2, 254], range(256)):
        path = folder / f"table-{len(codes)}.npy"
        np.save(path, rng.choice(np.array(codes, np.uint8), (classes, 64)))
        names.append(str(path))
    return names


def random_halves(seed: int, count: int) -> NDArray[np.uint16]:
    """Bits of FP16 values of any sign and size, subnormals too; one in 2,000 is infinite or no number, so that most rows of a
    block have a score."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 1 << 16, count, np.uint16)
    special = found & 0x7C00 == 0x7C00
    return np.where(special & (rng.random(count) > 1 / 60), found ^ 0x4000, found)


def random_queries(folder: Path, seed: int, head_dim: int = 128) -> list[str]:
    """Queries for the compute engine: usual ones, some of any size, with infinities, and zeros."""
    usual = np.random.default_rng(seed).standard_normal(head_dim).astype(np.float16)
    small, any_size = usual * np.float16(1e-4), random_halves(seed, head_dim).view(np.float16)
    names = []
    for name, query in {"usual": usual, "small": small, "any": any_size, "zero": np.zeros_like(usual)}.items():
        names.append(str(folder / f"query-{name}.npy"))
        np.save(names[-1], query)
    return names


class Script:
    """`blocks`: how many keys there are to load; above ENTRIES the directory can get full. `block_bytes`, `classes`: of the
    device. `tables`: what `policy ranked --table` takes, see `random_tables`. `queries`: what `query write` takes, see
    `random_queries`; none where the device has no compute engine."""

    def __init__(
        self, seed: int, blocks: int = 400, block_bytes: int = BLOCK, tables: Sequence[str] = ("age",), classes: int = 256,
        queries: Sequence[str] = (),
    ):  # fmt: skip
        self.random = random.Random(seed)
        self.blocks = blocks
        self.block_bytes = block_bytes
        self.tables, self.classes, self.queries = tables, classes, queries
        self.step = 0
        self.keys = self._keys(blocks + 20)
        self.recent = self.keys[:1]

    def lines(self, count: int) -> list[str]:
        """`count` commands, most blocks at the beginning."""
        kinds = {
            self.load: 30, self.advance: 12, self.hint: 16, self.prefetch: 6, self.sharing: 8, self.unload: 3,
            self.lookup: 12, self.policy: 5, self.classify: 4, self.score: 9, self.query: 3 if self.queries else 0,
            self.weights: 3, self.config: 2, self.registers: 3, self.memory: 2, self.look: 3, self.reset: 0.15,
        }  # fmt: skip
        lines = [self.load() for _ in range(count // 8)]
        while len(lines) < count:
            lines.append(self.random.choices(list(kinds), list(kinds.values()))[0]())
        return lines

    # ---- parts -----------------------------------------------------------------------------------------------------
    def rarely(self, odds: float = 0.03) -> bool:
        return self.random.random() < odds

    def border(self) -> int:
        return self.random.choice(BORDERS)

    def _keys(self, count: int) -> list[Key]:
        """(request, layer, head, token_start) of each block; request 0 is the shared prefix. Half are small numbers, so that
        requests have many blocks and share prefixes; others differ from one before in one bit, or are anything."""
        found: list[Key] = []
        for n in range(count):
            kind = self.random.random()
            if kind < 0.5 or not found:
                found.append((n % 5, n // 5 % 3, n // 15 % 2, n // 30 * 32))
            elif kind < 0.8:
                found.append(self.twin(self.random.choice(found)))
            else:
                request, layer, head, start = (self.random.randrange(1 << bits) >> low << low for _, bits, low in FIELDS)
                found.append((request, layer, head, start))
        return found

    def twin(self, key: Key) -> Key:
        """Another in one bit."""
        place, bits, low = self.random.choice(FIELDS)
        other = [*key]
        other[place] ^= 1 << self.random.randrange(low, bits)
        return other[0], other[1], other[2], other[3]

    def key(self, n: int) -> Key:
        return self.keys[n]

    def va(self, n: int) -> int:
        """Most blocks one behind the other; some so far away that only high bits of the address tell."""
        far = 1 << 33 + n % 31 if n % 11 == 5 else 0
        return (BASE ^ far) + n * self.block_bytes + (n % 7 == 0) * 100

    def range(self) -> str:
        """A few blocks, or part of one; rarely all, none, or past the end."""
        if self.rarely():
            return f"{self.border()} {self.border()}"
        first, size = self.random.randrange(self.blocks), self.block_bytes
        size = self.random.choice((1, 4096, size, size + 1, self.random.randrange(1, 12) * size))
        if self.rarely():
            first, size = 0, self.blocks * self.block_bytes
        return f"{self.va(first):#x} {size}"

    # ---- commands --------------------------------------------------------------------------------------------------
    def load(self) -> str:
        n = self.random.randrange(self.blocks)
        self.recent = [*self.recent[-20:], self.key(n)]
        request, layer, head, start = self.key(n)
        end = start + self.random.randrange(32)
        if self.rarely():
            start += self.random.randrange(1, 32)
        if self.rarely():
            end = min(end + 32, 0xFFFFFFFF)
        tier = f" --tier {self.random.randrange(4)}" if self.rarely(0.3) else ""
        return (
            f"load --request {request} --layer {layer} --head {head} --tokens {start}:{end} --va {self.va(n):#x}{tier}"
            f"{self.hinted(0.5)}"
        )

    def hinted(self, odds: float) -> str:
        """What a load or a touch says for the ranked policy: few classes and orders, so that blocks rank alike."""
        if not self.rarely(odds):
            return ""
        if self.rarely():
            return f" --hint {self.random.choice((0x1FFFF, 0xFFFF, 0x20000, 0x10000 + self.classes))}"
        class_id = self.random.choice((0, 1, 2, self.classes - 1, self.random.randrange(self.classes)))
        order = self.order()
        return self.random.choice((f" --class {class_id}", f" --order {order}", f" --class {class_id} --order {order}"))

    def order(self) -> int:
        return self.random.choice((0, 7, 7, 255, self.random.randrange(256)))

    def advance(self) -> str:
        if self.rarely():
            return f"step {self.border()}" if self.rarely(0.1) else f"step {self.random.randrange(self.step + 1)}"
        self.step += self.random.choice((0, 1, 1, 1, 2, 5, 40, 130, 300))
        return f"step {self.step}"

    def hint(self) -> str:
        return f"{self.random.choice(('hot', 'evict'))} {self.range()}"

    def prefetch(self) -> str:
        target = self.border() if self.rarely() else self.step + self.random.choice((0, 1, 10, 254, 255, 256, 600))
        return f"prefetch {self.range()} {target}"

    def sharing(self) -> str:
        return f"{self.random.choice(('share', 'share', 'release'))} {self.range()}"

    def unload(self) -> str:
        if self.rarely(0.2):
            request = self.twin(self.random.choice(self.keys))[0]
            return f"unload --request {self.random.choice((0, 1, 2, 3, 4, 65536, request, request))}"
        return f"unload {self.range()}"

    def lookup(self) -> str:
        key = self.key(self.random.randrange(self.blocks + 20))
        request, layer, head, start = self.twin(key) if self.rarely(0.2) else key
        touch = f" --touch{self.hinted(0.4)}" if self.rarely(0.6) else ""
        return f"lookup {request} {layer} {head} {start + self.random.randrange(32)}{touch}"

    def score(self) -> str:
        """Mostly of a block that was loaded not long ago, so that many are in tier 1."""
        request, layer, head, start = self.random.choice(self.recent if self.rarely(0.8) else self.keys)
        slot = 64 if self.rarely() else self.random.choice((0, 0, 1, 2, 63))
        flags = self.random.choice(("", " --exp"))
        if self.rarely(0.1):
            flags = f" --flags {self.random.choice((0, 1, 2, 3, 1 << 31))}"
        wait = " --wait" if self.rarely(0.5) else ""
        token = start + self.random.randrange(32)
        return f"score {request} {layer} {head} {token} --slot {slot}{flags}{wait}{self.hinted(0.2)}"

    def query(self) -> str:
        slot, word = self.random.choice((0, 1, 2, 63)), 0x8000 + 4 * self.random.randrange(self.block_bytes // 4)  # 64 rows
        write = f"query write {slot} {self.random.choice(self.queries)}"
        return self.random.choice(
            (
                write, write, f"query read {slot}", f"reg write {word:#x} {self.random.randrange(1 << 32)}",
                f"reg read {word:#x}", f"reg read {0x3000 + 4 * self.random.randrange(1024):#x}",
            )
        )  # fmt: skip

    def classify(self) -> str:
        class_id = self.border() if self.rarely() else self.random.choice((0, 1, 2, self.classes - 1))
        base, shift = self.random.choice((0, 0, 3, 250, 255, 256)), self.random.choice((0, 0, 1, 3, 15, 16))
        return f"class {self.range()} --class {class_id} --base {base} --shift {shift}"

    def policy(self) -> str:
        """Mostly ranked, with a capacity that makes blocks contend; `config` changes it as well."""
        table = self.random.choice(self.tables)
        fill_age = self.random.choice((0, 1, 1, 2, 50, 255, 256))
        return self.random.choice(
            (
                "policy linear", "policy ranked", f"policy ranked --table {table}", f"policy ranked --table {table}",
                f"policy ranked --fill-age {fill_age}", f"policy ranked --table {table} --fill-age {fill_age}",
                f"policy table {table}", f"reg write PTABLE_COMMIT {self.random.choice((1, 1, 1, 0))}", "policy",
                f"reg write {0x4000 + 4 * self.random.randrange(16 * self.classes):#x} {self.random.randrange(1 << 32)}",
                f"reg read {0x4000 + 4 * self.random.randrange(16 * self.classes):#x}",
                f"config --t1-capacity {self.random.choice((0, 3, 10, 25, 60))}",
            )
        )  # fmt: skip

    def weights(self) -> str:
        if self.rarely(0.4):
            return f"weights preset {self.random.choice(('seed', 'balanced', 'balanced'))}"
        values = {
            "w-r": 64, "w-f": 64, "w-s": 130, "w-d": 200, "evict": 40000, "prefetch": 65536, "window": 256,
        }  # fmt: skip
        chosen = self.random.sample(sorted(values), 2)
        return "weights set " + " ".join(
            f"--{n} {self.border() if self.rarely(0.1) else self.random.randrange(values[n])}" for n in chosen
        )

    def config(self) -> str:
        return "config " + self.random.choice(
            (
                f"--t1-capacity {self.random.choice((0, 5, 40, 100, 256, 65536, 65537))}",
                f"--evict-tier {self.random.choice((2, 3))}",
                f"--strict {self.random.randrange(2)}",
                f"--contend-policy {self.random.randrange(2)}",
                "--clear-counters",
                "",
            )
        )

    def registers(self) -> str:
        index = self.random.randrange(self.blocks)
        return "reg " + self.random.choice(
            (
                f"write RTBD_SHARE {index}", f"write RTBD_RELEASE {index}", f"write STEP_ADVANCE {self.step}",
                f"write SCRATCH {self.random.randrange(1 << 32)}", "read SCRATCH", "read STATUS", "read WEIGHT_S", "read 0x120",
                f"write TIER_BASE2 {self.border()}", f"write RTBD_SHARE {index ^ 1 << self.random.randrange(8, 20)}",
            )
        )  # fmt: skip

    def memory(self) -> str:
        where = self.random.randrange(4 * 256) * self.block_bytes + self.random.randrange(self.block_bytes)
        where = min(where, 4 * 256 * self.block_bytes - 64)  # a board's memory ends behind the four tiers
        return self.random.choice(
            (f"mem write {where:#x} {self.random.randbytes(40).hex()}", f"mem read {where:#x} 64")
        )

    def look(self) -> str:
        return self.random.choice(("telemetry", "dump", "weights", "config", "verify"))

    def reset(self) -> str:
        self.step = 0
        return self.random.choice(("reset", "reset --raw"))
