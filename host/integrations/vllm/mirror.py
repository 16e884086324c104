"""The cache of a vLLM server, mirrored in a device's directory: what each KV-cache event (events.py) becomes.

    stored   LOAD; where the mirror kept the block from before, TOUCH, so that it comes back from the lower tier; where it is in
             the cache already (vLLM keeps copies of one content and reports each), SHARE: ref_count is the number of further
             copies
    removed  RELEASE while copies remain, then EVICT: the block leaves T1, and its entry stays as long as no other block needs it
    cleared  RELEASE what is shared, then UNLOAD everything: the contents are void, so no lower tier may keep them
    unread   the same, unless it is about another medium: it may have removed anything

`complete` is said only where nothing speaks against it (decision D28).

One block of the cache is one entry, whatever its tokens (at most BLOCK_TOKENS show in token_end). The mirror has a window of
virtual addresses to itself, one BLOCK_BYTES slot an entry, and empties it before it begins. Keys: one request id a chain of
blocks, token_start grows along the chain, and layer and head, which mean nothing for a block that spans all layers, are the
slot's number: so no two entries have the same key.

The mirrored cache is what `blocks` says: the blocks loaded and not removed since, wherever the device's own decisions (STEP, a
full T1) have put them. `verify` holds the directory against it. As long as no STEP is sent and T1 has room, it is also what
lies in tier 1.

Where the directory is full, the block whose removal is longest ago is unloaded; where there is none, the block waits outside
until another is removed (`waiting`): a cache larger than the directory is mirrored in part, and `verify` cannot mend that.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...contract.commands import Command, Evict, Load, Release, Share, Step, Touch, Unload
from .events import GPU, Batch, Hash, Removed, Stored
from .receiver import Receiver, Told
from .window import REF_LIMIT, VA_BASE, Mirrored, Window

if TYPE_CHECKING:
    from ...lockstep.lockstep import Lockstep
    from ...lockstep.reference import Reference

FLUSH = 1024
"""Commands that wait at most: they run, and are checked, in one batch."""
Key = tuple[int, Hash]
"""KV-cache group and hash: in hybrid models several groups hold blocks with the same hash."""


@dataclass
class Block:
    """One block of the cache. `slot` None: it waits for a place in the directory."""

    request: int
    position: int  # in its chain
    tokens: int
    slot: int | None = None
    copies: int = 1

    @property
    def place(self) -> int:
        """Its slot, of a block that is in the directory."""
        if self.slot is None:
            raise ValueError("the block waits for a place in the directory")
        return self.slot


@dataclass
class Counts(Told):
    """What the mirror was told and what it sent. `strays`: removals of blocks that it does not have."""

    strays: int = 0
    loads: int = 0
    returns: int = 0
    shares: int = 0
    releases: int = 0
    evictions: int = 0
    unloads: int = 0
    steps: int = 0


class Mirror(Receiver):
    """`medium`: the one whose blocks are mirrored. `count_copies`: every stored block is a copy with a removal of its own;
    False for publishers that report blocks again when they are reused, or their removal only once (then a block stored again is
    a TOUCH). `step_every`: a STEP after so many batches; 0 for none."""

    counts: Counts

    def __init__(
        self, device: Lockstep | Reference, medium: str = GPU, count_copies: bool = True, step_every: int = 0,
        va_base: int = VA_BASE,
    ):  # fmt: skip
        super().__init__(medium)
        self.device, self.window = device, Window(device, va_base)
        self.count_copies, self.step_every = count_copies, step_every
        self.block_tokens = device.model.block_tokens
        self.counts = Counts()
        self._batches = self._chains = 0
        self._cached: dict[Key, Block] = {}
        self._kept: OrderedDict[Key, Block] = OrderedDict()  # evicted, their entries still there; the oldest first
        self._waiting: OrderedDict[Key, Block] = OrderedDict()
        self._planned: list[Command] = []
        self._step = device.telemetry()["current_step"]
        self.capacity = self.window.slots
        self._free = list(range(self.capacity))[::-1]

    # ---- what is mirrored ------------------------------------------------------------------------------------------
    @property
    def blocks(self) -> dict[Key, int]:
        """Blocks in the mirrored cache, and how many copies of each."""
        return {key: block.copies for key, block in self._cached.items()}

    @property
    def held(self) -> int:
        return len(self._cached)

    @property
    def waiting(self) -> dict[Key, int]:
        """Blocks of the cache for which the directory has no room, and copies."""
        return {key: block.copies for key, block in self._waiting.items()}

    def va(self, key: Key) -> int | None:
        """The virtual address of a mirrored block; None where it is not in the mirrored cache."""
        block = self._cached.get(key)
        return None if block is None else self._va(block)

    def summary(self) -> dict[str, Any]:
        return {
            **asdict(self.counts), "blocks": len(self._cached), "waiting": len(self._waiting), "kept": len(self._kept),
            "complete": self.complete,
        }  # fmt: skip

    # ---- events ----------------------------------------------------------------------------------------------------
    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        self._batches += 1
        if self.step_every and self._batches % self.step_every == 0:
            self._step += 1
            self.counts.steps += 1
            self._planned.append(Step(self._step))
        if len(self._planned) >= FLUSH:
            self.flush()

    def flush(self) -> None:
        commands, self._planned = self._planned, []
        self.window.run(commands)

    def clear(self, complete: bool) -> None:
        for block in self._cached.values():
            self._planned += [Release(*self._range(block))] * self._references(block)
            self.counts.releases += self._references(block)
        if self._cached or self._kept:
            self._planned.append(Unload(self.window.va_base, self.window.va_bytes))
            self.counts.unloads += len(self._cached) + len(self._kept)
        self._cached.clear()
        self._kept.clear()
        self._waiting.clear()
        self._free = list(range(self.capacity))[::-1]
        self.complete = complete

    # ---- stored ----------------------------------------------------------------------------------------------------
    def _stored(self, event: Stored) -> None:
        parent = event.parent
        for name in event.hashes:
            key = (event.group, name)
            if known := self._cached.get(key) or self._waiting.get(key):
                self._stored_again(known, event.reused)
            elif kept := self._kept.pop(key, None):
                self.counts.returns += 1
                kept.copies = 1
                self._cached[key] = kept
                self._planned.append(self._touch(kept))
            else:
                block = self._new_block(None if parent is None else (event.group, parent), event.block_size)
                self._load(key, block)
            parent = name

    def _new_block(self, parent: Key | None, size: int) -> Block:
        """A new block in its place of the chain; where its parent is not mirrored, a chain begins."""
        tokens = min(size, self.block_tokens) or self.block_tokens
        before = (self._cached.get(parent) or self._waiting.get(parent)) if parent else None
        if before:
            return Block(before.request, before.position + 1, tokens)
        self._chains += 1
        return Block(1 + (self._chains - 1) % 0xFFFF, 0, tokens)

    def _stored_again(self, block: Block, reused: bool) -> None:
        if self.count_copies and not reused:
            self._share(block)
        elif block.slot is not None:
            self._planned.append(self._touch(block))

    def _share(self, block: Block) -> None:
        """One copy more."""
        block.copies += 1
        if block.slot is not None and block.copies - 1 <= REF_LIMIT:
            self.counts.shares += 1
            self._planned.append(Share(*self._range(block)))

    def _load(self, key: Key, block: Block) -> None:
        """Into the directory, if need be instead of the block whose removal is longest ago."""
        if not self._free and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self.counts.unloads += 1
            self._planned.append(Unload(*self._range(oldest)))
            self._free.append(oldest.place)
        if not self._free:
            self._waiting[key] = block
            return
        block.slot = self._free.pop()
        self._cached[key] = block
        start = self._start(block)
        self.counts.loads += 1
        self._planned.append(Load(*self._id(block), start, start + block.tokens - 1, self._va(block)))
        references = self._references(block)
        self.counts.shares += references
        self._planned += [Share(*self._range(block))] * references

    # ---- removed ---------------------------------------------------------------------------------------------------
    def _removed(self, event: Removed) -> None:
        for at, name in enumerate(event.hashes):
            key = (event.group, name)
            block = self._cached.get(key) or self._waiting.get(key)
            if block is None:
                self._stray()
                continue
            left = event.remaining[at] if event.remaining else block.copies - 1
            while block.copies > max(left, 1):
                self._release(block)
            while block.copies < left:
                self._share(block)
            if left:
                continue
            if block.slot is None:
                del self._waiting[key]
            else:
                self.counts.evictions += 1
                self._kept[key] = self._cached.pop(key)
                self._planned.append(Evict(*self._range(block)))
                if self._waiting:
                    self._load(*self._waiting.popitem(last=False))

    def _stray(self) -> None:
        """A block goes that was never seen to come: the mirror does not know all that is cached. Where copies do not count, every
        removal but the first is one."""
        self.counts.strays += 1
        if self.count_copies:
            self.complete = False

    def _release(self, block: Block) -> None:
        """One copy less."""
        block.copies -= 1
        if block.slot is not None and block.copies <= REF_LIMIT:
            self.counts.releases += 1
            self._planned.append(Release(*self._range(block)))

    # ---- the directory ---------------------------------------------------------------------------------------------
    def _va(self, block: Block) -> int:
        return self.window.va(block.place)

    def _range(self, block: Block) -> tuple[int, int]:
        return self.window.range(block.place)

    def _id(self, block: Block) -> tuple[int, int, int]:
        return self.window.id(block.request, block.place)

    def _start(self, block: Block) -> int:
        return block.position * self.block_tokens & 0xFFFF_FFFF

    def _touch(self, block: Block) -> Touch:
        return Touch(*self._id(block), self._start(block))

    @staticmethod
    def _references(block: Block) -> int:
        return min(block.copies - 1, REF_LIMIT)

    def verify(self) -> int:
        self.flush()
        expected = {block.place: self._mirrored(block, self._references(block)) for block in self._cached.values()}
        expected |= {block.place: self._mirrored(block, 0) for block in self._kept.values()}
        self.window.compare(expected)
        return len(self._cached)

    def _mirrored(self, block: Block, references: int) -> Mirrored:
        return Mirrored(block.request, self._start(block), block.tokens, references)
