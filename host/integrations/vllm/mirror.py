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
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ...contract import script
from ...contract.commands import Command, Evict, Load, Release, Share, Step, Touch, Unload
from ...contract.errors import DeviceRefused, DifferenceError, UsageError
from .events import GPU, Batch, Cleared, Event, Hash, Removed, Stored, Unread

if TYPE_CHECKING:
    from ...lockstep.lockstep import Lockstep
    from ...lockstep.reference import Reference

VA_BASE = 0x20_0000_0000
REF_LIMIT = 255
"""ref_count saturates here (R20); further copies are counted by the mirror alone."""
FLUSH = 1024
"""Commands that wait at most: they run, and are checked, in one batch."""
MEDIA = {GPU, "CPU", "CPU_PINNED", "CPU_TIER1", "CPU_TIER2", "DISK", "EXTERNAL", "FS", "OBJ", "STORAGE"}
"""As vLLM, SGLang and their connectors name them. Another name could be a new one for the medium that is mirrored."""

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
class Counts:
    """What the mirror was told and what it sent. `strays`: removals of blocks that it does not have. `unread`: events after which
    it was emptied, because they may have removed blocks. `other_media`: what else `other_medium` events were about."""

    stored: int = 0
    removed: int = 0
    cleared: int = 0
    strays: int = 0
    unread: int = 0
    other_medium: int = 0
    other_media: list[str] = field(default_factory=list)
    loads: int = 0
    returns: int = 0
    shares: int = 0
    releases: int = 0
    evictions: int = 0
    unloads: int = 0
    steps: int = 0


class Mirror:
    """`medium`: the one whose blocks are mirrored. `count_copies`: every stored block is a copy with a removal of its own;
    False for publishers that report blocks again when they are reused, or their removal only once (then a block stored again is
    a TOUCH). `step_every`: a STEP after so many batches; 0 for none.

    `apply` plans, `flush` runs what was planned. `complete`: has everything been seen since the cache was last known to be empty?
    """

    def __init__(
        self, device: Lockstep | Reference, medium: str = GPU, count_copies: bool = True, step_every: int = 0,
        va_base: int = VA_BASE,
    ):  # fmt: skip
        self.device = device
        self.medium, self.count_copies, self.step_every = medium.upper(), count_copies, step_every
        self.block_bytes, self.block_tokens = device.block_bytes, device.model.block_tokens
        self.va_base, self.va_bytes = va_base, device.entries * device.block_bytes
        if not 0 <= va_base <= (1 << 64) - self.va_bytes:
            raise UsageError(f"a window of {self.va_bytes:#x} bytes at {va_base:#x} does not fit into 64 bits")
        self.counts = Counts()
        self.complete = True
        self._batches = self._chains = 0
        self._cached: dict[Key, Block] = {}
        self._removed: OrderedDict[Key, Block] = OrderedDict()  # evicted, their entries still there; the oldest first
        self._waiting: OrderedDict[Key, Block] = OrderedDict()
        self._planned: list[Command] = []
        self._empty_window()
        self._step = device.telemetry()["current_step"]
        self.capacity = device.entries - device.telemetry()["valid_entries"]
        self._free = list(range(self.capacity))[::-1]

    # ---- what is mirrored ------------------------------------------------------------------------------------------
    @property
    def blocks(self) -> dict[Key, int]:
        """Blocks in the mirrored cache, and how many copies of each."""
        return {key: block.copies for key, block in self._cached.items()}

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
            **asdict(self.counts), "blocks": len(self._cached), "waiting": len(self._waiting), "kept": len(self._removed),
            "complete": self.complete,
        }  # fmt: skip

    # ---- events ----------------------------------------------------------------------------------------------------
    def apply(self, batch: Batch) -> None:
        """Plan what these events come to."""
        for event in batch.events:
            if not self.concerns(event):
                self._leave_alone(event)
            elif isinstance(event, Stored):
                self._apply_stored(event)
            elif isinstance(event, Removed):
                self._apply_removed(event)
            elif isinstance(event, Cleared):
                self.counts.cleared += 1
                # a clear of everything may leave other media as they are (vLLM's does unless it is asked to name the tier)
                self.clear(complete=not event.partly and (event.medium or GPU) == self.medium)
            else:
                self.counts.unread += 1
                self.clear(complete=False)
        self._batches += 1
        if self.step_every and self._batches % self.step_every == 0:
            self._step += 1
            self.counts.steps += 1
            self._planned.append(Step(self._step))
        if len(self._planned) >= FLUSH:
            self.flush()

    def concerns(self, event: Event) -> bool:
        """Is it, or may it be, about the cache that is mirrored?"""
        if isinstance(event, Unread):
            return not event.media or self.medium in event.media
        if isinstance(event, Cleared):
            return event.medium in (None, self.medium)
        return event.medium == self.medium and not event.remote

    def _leave_alone(self, event: Event) -> None:
        self.counts.other_medium += 1
        for medium in event.media if isinstance(event, Unread) else (event.medium or GPU,):
            if medium != self.medium and medium not in self.counts.other_media:
                self.counts.other_media = sorted([*self.counts.other_media, medium])
            if medium not in MEDIA and medium != self.medium:
                self.complete = False

    def flush(self) -> None:
        """Run what was planned. DeviceRefused where a command is refused or finds nothing: somebody else has changed the
        directory."""
        commands, self._planned = self._planned, []
        for command, result in zip(commands, self.device.execute_many(commands)):
            code = result.code if result.matched or type(command) is Step or result.code != "OK" else "ERR_NOT_FOUND"
            if code != "OK":
                raise DeviceRefused(
                    code,
                    f"`{script.line(command)}` ended with {code}: the directory is not as the mirror left it",
                    "`kvfpga reset`, and nothing else on this session while it is mirrored into",
                )

    def clear(self, complete: bool) -> None:
        """Forget every block, because the cache is empty (`complete`), or because what is in it is not known any more."""
        for block in self._cached.values():
            self._planned += [Release(self._va(block), self.block_bytes)] * self._references(block)
            self.counts.releases += self._references(block)
        if self._cached or self._removed:
            self._planned.append(Unload(self.va_base, self.va_bytes))
            self.counts.unloads += len(self._cached) + len(self._removed)
        self._cached.clear()
        self._removed.clear()
        self._waiting.clear()
        self._free = list(range(self.capacity))[::-1]
        self.complete = complete

    # ---- stored ----------------------------------------------------------------------------------------------------
    def _apply_stored(self, event: Stored) -> None:
        parent = event.parent
        for name in event.hashes:
            self.counts.stored += 1
            key = (event.group, name)
            if known := self._cached.get(key) or self._waiting.get(key):
                self._stored_again(known, event.reused)
            elif kept := self._removed.pop(key, None):
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
            self._planned.append(Share(self._va(block), self.block_bytes))

    def _load(self, key: Key, block: Block) -> None:
        """Into the directory, if need be instead of the block whose removal is longest ago."""
        if not self._free and self._removed:
            _, oldest = self._removed.popitem(last=False)
            self.counts.unloads += 1
            self._planned.append(Unload(self._va(oldest), self.block_bytes))
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
        self._planned += [Share(self._va(block), self.block_bytes)] * references

    # ---- removed ---------------------------------------------------------------------------------------------------
    def _apply_removed(self, event: Removed) -> None:
        for at, name in enumerate(event.hashes):
            self.counts.removed += 1
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
                self._removed[key] = self._cached.pop(key)
                self._planned.append(Evict(self._va(block), self.block_bytes))
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
            self._planned.append(Release(self._va(block), self.block_bytes))

    # ---- the directory ---------------------------------------------------------------------------------------------
    def _va(self, block: Block) -> int:
        return self.va_base + block.place * self.block_bytes

    def _id(self, block: Block) -> tuple[int, int, int]:
        return block.request, block.place >> 8, block.place & 0xFF

    def _start(self, block: Block) -> int:
        return block.position * self.block_tokens & 0xFFFF_FFFF

    def _touch(self, block: Block) -> Touch:
        return Touch(*self._id(block), self._start(block))

    @staticmethod
    def _references(block: Block) -> int:
        return min(block.copies - 1, REF_LIMIT)

    def _in_window(self) -> list[dict[str, Any]]:
        first, behind = self.va_base - self.block_bytes, self.va_base + self.va_bytes
        return [entry for entry in self.device.dump() if first < entry["va"] < behind]

    def _empty_window(self) -> None:
        """What an earlier mirror left, or anybody else put there."""
        found = self._in_window()
        for entry in found:
            self._planned += [Release(entry["va"], 1)] * entry["ref_count"]
        if found:
            self._planned.append(Unload(self.va_base, self.va_bytes))
        self.flush()

    def verify(self) -> int:
        """Read the directory and hold it against what is mirrored: the number of blocks, DifferenceError where they differ."""
        self.flush()
        expected: dict[int, tuple[Block | None, int]] = {
            self._va(block): (block, self._references(block)) for block in self._cached.values()
        }
        expected |= {self._va(block): (block, 0) for block in self._removed.values()}
        wrong, found = [], self._in_window()
        for entry in found:
            block, references = expected.pop(entry["va"], (None, 0))
            if block is None:
                wrong.append(f"{entry['va']:#x}: a block that was not mirrored")
                continue
            start = self._start(block)
            should = dict(zip(("request_id", "layer", "head"), self._id(block)))
            should |= {"token_start": start, "token_end": start + block.tokens - 1, "ref_count": references}
            differing = [name for name in should if entry[name] != should[name]]
            wrong += [f"{entry['va']:#x}: {name} is {entry[name]}, not {should[name]}" for name in differing]
        wrong += [f"{va:#x}: no entry" for va in expected]
        if wrong:
            more = f" … and {len(wrong) - 8} more" if len(wrong) > 8 else ""
            raise DifferenceError(
                f"the directory is not what was mirrored: {'; '.join(wrong[:8])}{more}",
                "`kvfpga verify` compares it with the reference model; `kvfpga reset` starts anew",
            )
        return len(self._cached)
