"""The reference model of the KV-CPU: HEPC, RTBD and DMA in numpy, written from the device contract (R6, R10..R24).

`ReferenceModel.execute(command)` answers with the `Result` that the device must give, and leaves the state that the
device must be in once it is idle. It knows no register, no clock and no hardware: `cycles` is 0, the device-only
counters (busy_cycles, …) are absent from `telemetry()`, and `strict` changes nothing, because states are only shown
with both DMA channels idle (R22). What the contract (docs/device-contract.md) leaves open is decided in docs/decisions.

    model = ReferenceModel(entries=256)
    model.execute(Load(request=1, layer=0, head=0, token_start=0, token_end=31, va=0x7F000000))
    model.execute(Step(1)).triggers    # (Trigger(index=0, channel='evict', from_tier=1, to_tier=2),)

The order of entries matters in one place only: a prefetch is granted by t1_used after the decisions before it (R16).
`scoring.prefetch_grants` computes all grants of a pass at once; everything else is independent per entry.
"""

from __future__ import annotations

import zipfile
from functools import partial
from itertools import repeat

import numpy as np

from .contract import commands as cmd
from .contract.commands import EVICT, PREFETCH, Result, Trigger
from .contract.errors import SessionError, UsageError
from .contract.settings import TIER_BASES, judge, reset_values
from .model.block_memory import BlockMemory
from .model.directory import NO_ROWS, Directory, pack_key
from .model.scoring import prefetch_grants, score

COUNTERS = (
    "step_count", "hot_count", "evict_count", "prefetch_count", "share_count", "last_va", "last_len",
    "last_target_step", "evict_triggers", "prefetch_triggers", "evict_completions", "prefetch_completions",
    "evict_bytes", "prefetch_bytes", "guards", "denials", "saturations", "release_refusals",
    "hits_t0", "hits_t1", "hits_t2", "hits_t3", "misses",
)  # fmt: skip
"""What CLEAR_COUNTERS clears (D4). `telemetry()` shows them between current_step and t1_used, valid_entries."""

STEP_LIMIT = 1 << 32
FILE_FORMAT = 1

make_trigger = partial(tuple.__new__, Trigger)
"""Trigger from a tuple without a Python-level call: a STEP may make 65,536 of them."""


class Refused(Exception):
    """A rule refuses the command. Raised before anything has changed (R10); which rule comes first is D1."""

    def __init__(self, code: str):
        super().__init__(code)
        self.code = code


class ReferenceModel:
    """`entries`: a power of two, 256..65536; a block has 2 * block_tokens * head_dim FP16 values."""

    name = "model"

    def __init__(self, entries: int = 65536, block_tokens: int = 32, head_dim: int = 128):
        if not 256 <= entries <= 65536 or entries & (entries - 1):
            raise UsageError(f"entries={entries}: a directory has a power of two of entries, 256 to 65536")
        if block_tokens <= 0 or block_tokens & (block_tokens - 1):
            raise UsageError(f"block_tokens={block_tokens} is not a power of two")
        self.entries = entries
        self.block_tokens = block_tokens
        self.block_bytes = 2 * block_tokens * head_dim * 2
        self._parameters = (FILE_FORMAT, entries, block_tokens, head_dim)
        self._memory = BlockMemory(self.block_bytes)
        self._tier_base = np.zeros(4, np.uint64)
        self._directory = Directory(entries, self.block_bytes, self._tier_base)
        self.reset()

    def reset(self) -> None:
        """Settings to their reset values (R6), directory and counters empty, step 0. The memory keeps its bytes (D20)."""
        self._settings = reset_values(self.entries, self.block_bytes)
        self._place_tiers()
        self._directory.clear()
        self._step = 0
        self._t1_used = 0
        self._counters = dict.fromkeys(COUNTERS, 0)

    # ---- the surface -----------------------------------------------------------------------------------------------
    def execute(self, command: cmd.Command) -> Result:
        try:
            return self._RULES[type(command)](self, command)
        except Refused as refusal:
            return Result(refusal.code)

    def telemetry(self) -> dict[str, int]:
        """The counters that do not depend on time (R23, D4), in the order of the register map."""
        return {
            "current_step": self._step, **self._counters,
            "t1_used": self._t1_used, "valid_entries": self._directory.count,
        }  # fmt: skip

    def settings(self) -> dict[str, int]:
        """Every setting in force by its name in `commands.Set`."""
        return dict(self._settings)

    def digest(self, lo: int = 0, hi: int | None = None) -> int:
        """The hash over the valid entries in [lo, hi) (R24)."""
        hi = self.entries if hi is None else hi
        if not 0 <= lo <= hi <= self.entries:
            raise UsageError(f"digest of [{lo}, {hi}): not a range of entries 0..{self.entries}")
        return self._directory.digest(lo, hi)

    def entry(self, index: int) -> dict[str, int]:
        """All fields of one entry (contract section 3) and va, as integers; all 0 when it is not valid."""
        fields = self._directory.fields(slice(index, index + 1))
        return {name: int(column[0]) for name, column in fields.items()}

    def entries_array(self) -> dict[str, np.ndarray]:
        """The same for all entries: one array[entries] per field."""
        return self._directory.fields(slice(0, self.entries))

    def read_entries(self, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
        """(uint32[hi-lo, 8], uint64[hi-lo]): entries and vas as BAR2 shows them."""
        return self._directory.raw(lo, hi)

    def dump(self) -> list[dict]:
        """The valid entries in index order, as contract section 8 prints them."""
        rows = np.flatnonzero(self._directory.valid[: self._directory.limit])
        fields = self._directory.fields(rows)
        names = (
            "request_id", "layer", "head", "token_start", "token_end", "tier", "phys_addr", "va", "priority",
            "access_step", "ref_count", "prefix", "dirty", "R", "F", "pinned", "inflight", "armed",
        )  # fmt: skip
        columns = [rows.tolist()] + [fields[name].tolist() for name in names]
        return [dict(zip(("index", *names), values)) for values in zip(*columns)]

    def memory_read(self, addr: int, size: int) -> bytes:
        return self._memory.read(addr, size)

    def memory_write(self, addr: int, data: bytes) -> None:
        self._memory.write(addr, data)

    def overlapping(self, addr: int, length: int) -> np.ndarray:
        """uint64: va of each block that the range [addr, addr+length) matches, in index order."""
        return self._directory.va[self._directory.in_range(addr, length)]

    def free_indices(self, count: int) -> list[int]:
        """The lowest `count` entries that are not valid (fewer where there are no more): where LOADs will land (R11)."""
        return self._directory.free(count)

    def block_content(self, tier: int, index: int) -> bytes:
        """The BLOCK_BYTES of the slot of entry `index` in `tier`, whether or not a block lives there."""
        return self._memory.read(self.slot_address(tier, index), self.block_bytes)

    def slot_address(self, tier: int, index: int) -> int:
        """Where that slot is (contract section 2)."""
        return (self._settings[TIER_BASES[tier]] + index * self.block_bytes) % (1 << 64)

    # ---- state outside the process ---------------------------------------------------------------------------------
    def save(self, path) -> None:
        """Write everything to `path` (npz, uncompressed); the time it takes follows the highest used index."""
        entries, vas = self._directory.raw(0, self._directory.limit)
        with open(path, "wb") as file:
            np.savez(
                file,
                parameters=np.array(self._parameters, np.uint64),
                settings=np.array(list(self._settings.values()), np.uint64),
                telemetry=np.array(list(self.telemetry().values()), np.uint64),
                entries=entries,
                vas=vas,
                **self._memory.state(),
            )

    def load(self, path) -> None:
        """Replace this model's state by a saved one, made by a model with the same parameters."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                state = {name: arrays[name] for name in arrays.files}
            parameters = tuple(state["parameters"].tolist())
            if parameters != self._parameters:
                raise SessionError(
                    f"{path} was made with (format, entries, block_tokens, head_dim) = {parameters}, "
                    f"not {self._parameters}",
                    "give the options the session was started with, or remove the session's folder",
                )
            settings = dict(zip(self._settings, state["settings"].tolist(), strict=True))
            telemetry = dict(zip(self.telemetry(), state["telemetry"].tolist(), strict=True))
            self.adopt(state["entries"], state["vas"], settings, telemetry)
            self._memory.set_state(state)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise SessionError(f"{path} is not a saved model: {error}", "remove the session's folder") from error

    def adopt(self, entries: np.ndarray, vas: np.ndarray, settings: dict[str, int], telemetry: dict[str, int]) -> None:
        """Take a state from outside as the truth (`sync`): `entries` and `vas` as `read_entries` gives them, for
        indices 0..n-1 (the others become invalid), read while idle. Memory bytes stay as they are. Keys that the
        model does not know are left alone; valid_entries is counted, not believed."""
        self._settings = {name: int(settings[name]) for name in self._settings}
        self._place_tiers()
        self._directory.set_raw(entries, vas)
        self._counters = {name: int(telemetry[name]) for name in COUNTERS}
        self._step = int(telemetry["current_step"])
        self._t1_used = int(telemetry["t1_used"])

    # ---- commands: directory ---------------------------------------------------------------------------------------
    def _load(self, c: cmd.Load) -> Result:
        """Put a block into the lowest free index, below tier 1 where that is full (R11). The order of the refusals is D1."""
        start, tier, directory = c.token_start, c.tier, self._directory
        if start % self.block_tokens or not start <= c.token_end < start + self.block_tokens or tier > 3:
            raise Refused("ERR_RANGE")
        key = pack_key(c.request, c.layer, c.head, start)
        if directory.find(key) is not None:
            raise Refused("ERR_EXISTS")
        if directory.count == self.entries:
            raise Refused("ERR_FULL")
        if tier == 1 and self._t1_free() <= 0:
            tier = self._settings["EVICT_TIER"]
        index = directory.lowest_free()
        directory.insert(
            index, key=key, va=c.va, token_end=c.token_end, tier=tier, access_step=self._step, R=255, F=1,
            prefix=c.request == 0, dirty=True,
        )  # fmt: skip
        self._rescore(slice(index, index + 1))
        self._t1_used += tier == 1
        return Result("OK", matched=1, index=index)

    def _find(self, c: cmd.Lookup | cmd.Touch) -> tuple[slice | None, Result]:
        """Find the entry of a token, or else the shared prefix's, and count hit or miss (R12); LOOKUP and TOUCH share it.
        The result shows the entry as it was found, before a TOUCH changes it (D3)."""
        start = c.token_pos - c.token_pos % self.block_tokens
        index = self._directory.find(pack_key(c.request, c.layer, c.head, start))
        if index is None:
            index = self._directory.find(pack_key(0, c.layer, c.head, start))
        if index is None:
            self._counters["misses"] += 1
            return None, Result("OK")
        row = slice(index, index + 1)
        tier = int(self._directory.tier[index])
        self._counters[f"hits_t{tier}"] += 1
        return row, Result("OK", 1, index, tier=tier, phys_addr=int(self._directory.physical(row)[0]))

    def _lookup(self, c: cmd.Lookup) -> Result:
        return self._find(c)[1]

    def _touch(self, c: cmd.Touch) -> Result:
        """A lookup that is an access: refreshes R, F and access_step, and wants a block of tier 2 or 3 back (R13).
        The result names the tier before that prefetch (D3)."""
        row, found = self._find(c)
        if row is None:
            return found
        directory, index = self._directory, found.index
        directory.R[index] = 255
        directory.F[index] = min(255, int(directory.F[index]) + 1)
        directory.access_step[index] = self._step
        self._rescore(row)
        wanted = np.array([index]) if found.tier >= 2 else NO_ROWS
        return Result("OK", 1, index, self._move(NO_ROWS, wanted), found.tier, found.phys_addr)

    def _unload(self, c: cmd.Unload) -> Result:
        return self._free(self._matches(c))

    def _unload_request(self, c: cmd.UnloadRequest) -> Result:
        if c.request > 0xFFFF:
            raise Refused("ERR_RANGE")
        return self._free(self._directory.of_request(c.request))

    def _free(self, rows: np.ndarray) -> Result:
        """Free the rows and give back their places in tier 1 (R21). Guarded rows stay; they are matched and counted (D3)."""
        freed = rows[~self._guarded(rows)]
        self._counters["guards"] += rows.size - freed.size
        self._t1_used -= int((self._directory.tier[freed] == 1).sum())
        self._directory.remove(freed)
        return Result("OK", matched=rows.size)

    # ---- commands: hints -------------------------------------------------------------------------------------------
    def _advance(self, c: cmd.Step) -> Result:
        """Move time to a decode step: age and score every entry, then decide what moves (R15). The decisions see R, S, P and
        the pin as they are after the step (D19)."""
        self._check_step(c.step)
        directory, window = self._directory, self._settings["WINDOW"]
        self._step = c.step
        self._counters["step_count"] += 1
        self._counters["last_target_step"] = c.step

        rows = slice(0, directory.limit)
        valid, tier = directory.valid[rows], directory.tier[rows]
        directory.R[rows] -= directory.R[rows] > 0
        if c.step > window:
            directory.pinned[rows] &= directory.access_step[rows] >= c.step - window
        near = self._rescore(rows) > 0
        priority = directory.priority[rows]
        cold = valid & (tier == 1) & (priority < self._settings["EVICT_THRESH"])
        guarded = cold & self._guarded(rows)
        due = (directory.armed[rows] & near) | (priority > self._settings["PREFETCH_THRESH"])
        self._counters["guards"] += int(guarded.sum())
        triggers = self._move(np.flatnonzero(cold & ~guarded), np.flatnonzero((tier >= 2) & due))
        return Result("OK", matched=directory.count, triggers=triggers)

    def _hot(self, c: cmd.Hot) -> Result:
        """Pin what matches as accessed now, at the highest priority (R17). F stays (D3)."""
        rows = self._hinted(c, "hot_count")
        directory = self._directory
        directory.pinned[rows] = True
        directory.R[rows] = 255
        directory.access_step[rows] = self._step
        self._rescore(rows)
        return Result("OK", matched=rows.size)

    def _evict(self, c: cmd.Evict) -> Result:
        """Unpin what matches, score it anew and send it out of tier 1 (R18). Guarded blocks lose their pin and are scored
        like the others; a guard counts in any tier (D3)."""
        rows = self._hinted(c, "evict_count")
        self._directory.pinned[rows] = False
        self._rescore(rows)
        guarded = self._guarded(rows)
        self._counters["guards"] += int(guarded.sum())
        triggers = self._move(rows[~guarded & (self._directory.tier[rows] == 1)], NO_ROWS)
        return Result("OK", matched=rows.size, triggers=triggers)

    def _prefetch(self, c: cmd.Prefetch) -> Result:
        """Expect what matches at the target step, and prefetch what is near (R19). What is denied, too far off or in tier 0
        stays armed (D19)."""
        self._check_range(c)
        self._check_step(c.target)
        rows = self._hinted(c, "prefetch_count")
        self._counters["last_target_step"] = c.target
        directory = self._directory
        tier = directory.tier[rows]
        directory.access_step[rows] = c.target
        directory.armed[rows] = tier != 1
        near = self._rescore(rows) > 0
        return Result("OK", matched=rows.size, triggers=self._move(NO_ROWS, rows[(tier >= 2) & near]))

    def _share(self, c: cmd.Share) -> Result:
        return self._add_reference(self._hinted(c, "share_count"))

    def _share_index(self, c: cmd.ShareIndex) -> Result:
        row = self._valid_row(c.index)
        self._counters["share_count"] += 1
        return self._add_reference(row)

    def _add_reference(self, rows: np.ndarray) -> Result:
        """Count one more user of each row, which makes it shared prefix (R20). The priority follows at the next scoring (D3)."""
        full = self._directory.ref_count[rows] == 255
        self._counters["saturations"] += int(full.sum())
        self._directory.ref_count[rows] += ~full
        self._directory.prefix[rows] = True
        self._directory.touched(rows)
        return Result("OK", matched=rows.size)

    def _release(self, c: cmd.Release) -> Result:
        return self._drop_reference(self._matches(c))

    def _release_index(self, c: cmd.ReleaseIndex) -> Result:
        return self._drop_reference(self._valid_row(c.index))

    def _drop_reference(self, rows: np.ndarray) -> Result:
        """Count one user less of each row; without a user that is refused and counted (R20). prefix stays (D3)."""
        held = self._directory.ref_count[rows] > 0
        self._counters["release_refusals"] += int((~held).sum())
        self._directory.ref_count[rows] -= held
        self._directory.touched(rows)
        return Result("OK", matched=rows.size)

    # ---- settings --------------------------------------------------------------------------------------------------
    def _set(self, c: cmd.Set) -> Result:
        """Put a setting in force, where `judge` allows it (R6, R16, D2), or clear the counters (D4)."""
        if c.setting == "CLEAR_COUNTERS":
            self._counters = dict.fromkeys(COUNTERS, 0)
            return Result("OK")
        code = judge(c.setting, c.value, self.entries, self.block_bytes, empty=not self._directory.count)
        if code != "OK":
            raise Refused(code)
        self._settings[c.setting] = c.value
        self._place_tiers()
        return Result("OK")

    def _place_tiers(self) -> None:
        self._tier_base[:] = [self._settings[name] for name in TIER_BASES]

    # ---- parts of the rules ----------------------------------------------------------------------------------------
    @staticmethod
    def _check_range(c) -> None:
        """Refuse an empty range and one past the end of addresses (R10). It may end at 2^64 exactly (D1)."""
        if c.length == 0 or c.addr + c.length > 1 << 64:
            raise Refused("ERR_LEN")

    def _matches(self, c) -> np.ndarray:
        """The rows that a command's range selects, in index order (contract section 4)."""
        self._check_range(c)
        return self._directory.in_range(c.addr, c.length)

    def _hinted(self, c, counter: str) -> np.ndarray:
        """The same for an accepted hint: counts it and shows its range in telemetry (D4)."""
        rows = self._matches(c)
        self._counters[counter] += 1
        self._counters["last_va"] = c.addr
        self._counters["last_len"] = c.length
        return rows

    def _valid_row(self, index: int) -> np.ndarray:
        if index >= self.entries or not self._directory.valid[index]:
            raise Refused("ERR_NOT_FOUND")
        return np.array([index])

    def _check_step(self, step: int) -> None:
        if step >= STEP_LIMIT:
            raise Refused("ERR_RANGE")
        if step < self._step:
            raise Refused("ERR_STEP_ORDER")

    def _t1_free(self) -> int:
        """Places left in tier 1; negative when T1_CAPACITY was set below t1_used (D2)."""
        return self._settings["T1_CAPACITY"] - self._t1_used

    def _guarded(self, rows) -> np.ndarray:
        """bool: a shared block in use, which the device neither evicts nor frees (R15, R18, R21)."""
        return self._directory.prefix[rows] & (self._directory.ref_count[rows] > 0)

    def _rescore(self, rows) -> np.ndarray:
        """Store the priority of `rows` (R14) and return S (uint16[n]), which some decisions need."""
        d = self._directory
        P, S = score(
            d.R[rows], d.F[rows], d.access_step[rows], d.prefix[rows], d.pinned[rows], self._step, self._settings
        )
        d.priority[rows] = P * d.valid[rows]
        d.touched(rows)
        return S

    def _move(self, evict: np.ndarray, prefetch: np.ndarray) -> tuple[Trigger, ...]:
        """Grant `prefetch` in index order, count the triggers, move the bytes and complete (R16, D19). Both arguments are
        ascending indices."""
        if not evict.size and not prefetch.size:
            return ()
        directory, counters = self._directory, self._counters
        evict_tier, block_bytes = self._settings["EVICT_TIER"], self.block_bytes
        granted = prefetch[prefetch_grants(evict, prefetch, self._t1_free())]
        counters["denials"] += prefetch.size - granted.size
        self._t1_used += granted.size - evict.size

        copied = evict[directory.dirty[evict]]
        self._copy(copied, 1, evict_tier)
        directory.tier[evict] = evict_tier
        directory.dirty[evict] = False

        sources = directory.tier[granted]
        self._copy(granted, sources, 1)
        directory.tier[granted] = 1
        directory.dirty[granted] = sources != evict_tier
        directory.armed[granted] = False

        for channel, moved, bytes_moved in (
            (EVICT, evict.size, copied.size * block_bytes),
            (PREFETCH, granted.size, granted.size * block_bytes),
        ):
            counters[f"{channel}_triggers"] += moved
            counters[f"{channel}_completions"] += moved
            counters[f"{channel}_bytes"] += bytes_moved
        directory.touched(evict)
        directory.touched(granted)
        triggers = [*map(make_trigger, zip(evict.tolist(), repeat(EVICT), repeat(1), repeat(evict_tier)))]
        triggers += map(make_trigger, zip(granted.tolist(), repeat(PREFETCH), sources.tolist(), repeat(1)))
        return tuple(sorted(triggers)) if evict.size and granted.size else tuple(triggers)

    def _copy(self, rows: np.ndarray, from_tier, to_tier) -> None:
        if rows.size:
            directory = self._directory
            self._memory.copy(directory.tier_address(rows, from_tier), directory.tier_address(rows, to_tier))

    _RULES = {
        cmd.Load: _load, cmd.Lookup: _lookup, cmd.Touch: _touch, cmd.Unload: _unload,
        cmd.UnloadRequest: _unload_request, cmd.Step: _advance, cmd.Hot: _hot, cmd.Evict: _evict,
        cmd.Prefetch: _prefetch, cmd.Share: _share, cmd.ShareIndex: _share_index, cmd.Release: _release,
        cmd.ReleaseIndex: _release_index, cmd.Set: _set,
    }  # fmt: skip
