"""The reference model of the KV-CPU: HEPC, RTBD, DMA and NMCE in numpy, written from the device contract (R6, R10..R24, R30..R33,
R40..R48).

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

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .contract import commands as cmd
from .contract.commands import NUMERATORS, QUERY_SLOTS, Result
from .contract.presets import NAME_OF
from .contract.settings import RANKED, code_of_set, rule_of
from .contract.wording import beyond
from .model.directory import NO_ROWS, pack_key
from .model.dma import move, t1_free
from .model.ranking import HIGHEST, rank, rank_accessed, winners
from .model.scoring import nearness, steps_between, weighted_sum, weighted_sum_accessed
from .model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from numpy.typing import NDArray

    from .contract.commands import Trigger
    from .contract.parameters import Parameters
    from .model.directory import Rows

    WithRange: TypeAlias = cmd.Hot | cmd.Evict | cmd.Prefetch | cmd.Share | cmd.Release | cmd.Unload | cmd.Class

STEP_LIMIT = 1 << 32


class Refused(Exception):
    """A rule refuses the command. Raised before anything has changed (R10), but for a miss that SCORE counted (R30); which rule
    comes first is D1. `why`: the value, the rule and what is allowed, for people."""

    def __init__(self, code: str, why: str):
        super().__init__(code)
        self.code, self.why = code, why


class ReferenceModel(State):
    """The state of a device (its constructor and what it shows: model/state.py) and the rules that change it."""

    name = "model"

    def execute(self, command: cmd.Command) -> Result:
        try:
            return self._RULES[type(command)](self, command)
        except Refused as refusal:
            return Result(refusal.code, why=refusal.why)

    # ---- commands: directory ---------------------------------------------------------------------------------------
    def _load(self, c: cmd.Load) -> Result:
        """Put a block into the lowest free index, below tier 1 where that is full (R11). The order of the refusals is D1."""
        start, tier, directory = c.token_start, c.tier, self.directory
        self._check_tokens(c)
        if tier > 3:
            raise Refused("ERR_RANGE", beyond("tier", tier, 3, "R11"))
        self._check_hint(c.hint)
        key = pack_key(c.request, c.layer, c.head, start)
        if (index := directory.find(key)) is not None:
            raise Refused("ERR_EXISTS", f"{_key(c, start)} is block {index}; a key is there once (R10)")
        if directory.count == self.entries:
            raise Refused("ERR_FULL", f"{directory.count} blocks are loaded; the directory has {self.entries} entries (R10)")
        if tier == 1 and t1_free(self) <= 0:
            tier = self.in_force["EVICT_TIER"]
        index = directory.lowest_free()
        directory.insert(
            index, key=key, va=c.va, token_end=c.token_end, tier=tier, prefix=c.request == 0, dirty=True
        )  # fmt: skip
        self._take_hint(index, c.hint)
        self._accessed(index, F=1)
        self.t1_used += tier == 1
        return Result("OK", matched=1, index=index)

    def _find(self, c: cmd.Lookup | cmd.Touch | cmd.Score) -> tuple[int | None, Result]:
        """Find the entry of a token, or else the shared prefix's, and count hit or miss (R12); LOOKUP, TOUCH and SCORE share it.
        The result shows the entry as it was found, before a TOUCH changes it (D3)."""
        start = c.token_pos - c.token_pos % self.block_tokens
        index = self.directory.find(pack_key(c.request, c.layer, c.head, start))
        if index is None:
            index = self.directory.find(pack_key(0, c.layer, c.head, start))
        if index is None:
            self.counters["misses"] += 1
            return None, Result("OK")
        tier = int(self.directory.tier[index])
        self.counters[f"hits_t{tier}"] += 1
        return index, Result("OK", 1, index, tier=tier, phys_addr=self.slot_address(tier, index))

    def _lookup(self, c: cmd.Lookup) -> Result:
        return self._find(c)[1]

    def _touch(self, c: cmd.Touch | cmd.Score) -> Result:
        """A lookup that is an access: refreshes R, F and access_step, and wants a block of tier 2 or 3 back (R13).
        The result names the tier before that prefetch (D3)."""
        self._check_hint(c.hint)
        index, found = self._find(c)
        if index is None:
            return found
        self._take_hint(index, c.hint)
        self._accessed(index, F=min(255, int(self.directory.F[index]) + 1))
        wanted = np.array([index]) if self.directory.tier[index] >= 2 else NO_ROWS
        return Result("OK", 1, index, move(self, NO_ROWS, wanted), found.tier, found.phys_addr)

    def _score(self, c: cmd.Score) -> Result:
        """A TOUCH, then the scores of the block's keys (R30 to R32). One that is not in tier 1 is refused, but was touched."""
        if not self.nmce:
            raise Refused("ERR_UNSUPPORTED", "NMCE is 0; SCORE is for a build with NMCE = 1 (R36)")
        if c.slot >= QUERY_SLOTS:
            raise Refused("ERR_RANGE", beyond("slot", c.slot, QUERY_SLOTS - 1, "R30", f"the buffer has {QUERY_SLOTS} slots"))
        if c.flags & ~NUMERATORS:
            raise Refused("ERR_RANGE", beyond("flags", c.flags, NUMERATORS, "R32", "bit 0 asks for numerators"))
        found = self._touch(c)
        if found.index is None or found.phys_addr is None:
            raise Refused("ERR_NOT_FOUND", f"no block holds {_key(c, c.token_pos)}; SCORE takes one that is loaded (R30)")
        if found.tier != 1:
            return replace(found, code="ERR_NOT_RESIDENT", why=f"the block is in tier {found.tier}; SCORE reads tier 1 (R30)")
        from .model.nmce import block_scores  # here: nothing else needs it, and every start would wait for it

        keys = np.frombuffer(self.memory_read(found.phys_addr, self.block_bytes // 2), "<u2").reshape(self.block_tokens, -1)
        rows = int(self.directory.token_end[found.index]) % self.block_tokens + 1
        self.counters["key_bytes"] += keys.nbytes
        self.counters["blocks_scored"] += 1
        return replace(found, scores=block_scores(self.queries[c.slot], keys, rows, bool(c.flags)))

    def _unload(self, c: cmd.Unload) -> Result:
        return self._free(self._matches(c))

    def _unload_request(self, c: cmd.UnloadRequest) -> Result:
        if c.request > 0xFFFF:
            raise Refused("ERR_RANGE", beyond("request", c.request, 0xFFFF, "R21", "a request has 16 bits"))
        return self._free(self.directory.of_request(c.request))

    def _free(self, rows: NDArray[np.intp]) -> Result:
        """Free the rows and give back their places in tier 1 (R21). Guarded rows stay; they are matched and counted (D3)."""
        freed = rows[~self._guarded(rows)]
        self.counters["guards"] += rows.size - freed.size
        self.t1_used -= int((self.directory.tier[freed] == 1).sum())
        self.directory.remove(freed)
        return Result("OK", matched=rows.size)

    # ---- commands: hints -------------------------------------------------------------------------------------------
    def _advance(self, c: cmd.Step) -> Result:
        """Move time to a decode step: age and score every entry, then decide what moves (R15, R46). The decisions see R, S, P
        and the pin as they are after the step (D19)."""
        self._check_step(c.step)
        directory, window = self.directory, self.in_force["WINDOW"]
        self.step = c.step
        self.counters["step_count"] += 1
        self.counters["last_target_step"] = c.step

        rows = slice(0, directory.limit)
        directory.R[rows] -= directory.R[rows] > 0
        if c.step > window:
            directory.pinned[rows] &= directory.access_step[rows] >= c.step - window
        near = self._rescore(rows) > 0
        decide = self._rank_out if self.ranked else self._cut_off
        return Result("OK", matched=directory.count, triggers=decide(rows, directory.armed[rows] & near))

    def _cut_off(self, rows: slice, expected: NDArray[np.bool_]) -> tuple[Trigger, ...]:
        """What moves by the linear policy: each entry by its own priority (R15). `expected` now by a PREFETCH."""
        directory = self.directory
        tier, priority = directory.tier[rows], directory.priority[rows]
        cold = directory.valid[rows] & (tier == 1) & (priority < self.in_force["EVICT_THRESH"])
        guarded = cold & self._guarded(rows)
        due = expected | (priority > self.in_force["PREFETCH_THRESH"])
        self.counters["guards"] += int(guarded.sum())
        self.counters.update(theta=0, pool=0, outside=0)
        return move(self, np.flatnonzero(cold & ~guarded), np.flatnonzero((tier >= 2) & due))

    def _rank_out(self, rows: slice, expected: NDArray[np.bool_]) -> tuple[Trigger, ...]:
        """What moves by the ranked policy: tier 1 is for those of a pool that rank highest (R46, R47)."""
        directory, capacity = self.directory, self.in_force["T1_CAPACITY"]
        tier, access = directory.tier[rows], directory.access_step[rows]
        recent = (access <= self.step) & (access >= max(0, self.step - self.in_force["FILL_AGE"]))
        outside = (tier >= 2) & (recent | expected)
        contending = int(outside.sum())
        size = self.t1_used + contending
        self.counters.update(theta=0, pool=size, outside=contending)
        if size <= capacity:
            return move(self, NO_ROWS, np.flatnonzero(outside), evict_first=True)
        pool = np.flatnonzero(outside | (tier == 1))
        inside = directory.tier[pool] == 1
        guarded = self._guarded(pool) & inside
        won, self.counters["theta"] = winners(np.where(guarded, HIGHEST, directory.priority[pool]), capacity)
        self.counters["ranked_steps"] += 1
        self.counters["guards"] += int((guarded & ~won).sum())
        return move(self, pool[inside & ~won & ~guarded], pool[won & ~inside], evict_first=True)

    def _hot(self, c: cmd.Hot) -> Result:
        """Pin what matches as accessed now, at the highest priority (R17). F stays (D3)."""
        rows = self._hinted(c, "hot_count")
        directory = self.directory
        directory.pinned[rows] = True
        directory.R[rows] = 255
        directory.access_step[rows] = self.step
        directory.touched(rows)
        self._rescore(rows)
        return Result("OK", matched=rows.size)

    def _evict(self, c: cmd.Evict) -> Result:
        """Unpin what matches, score it anew and send it out of tier 1 (R18). Guarded blocks lose their pin and are scored
        like the others; a guard counts in any tier (D3)."""
        rows = self._hinted(c, "evict_count")
        self.directory.pinned[rows] = False
        self._rescore(rows)
        guarded = self._guarded(rows)
        self.counters["guards"] += int(guarded.sum())
        triggers = move(self, rows[~guarded & (self.directory.tier[rows] == 1)], NO_ROWS)
        return Result("OK", matched=rows.size, triggers=triggers)

    def _prefetch(self, c: cmd.Prefetch) -> Result:
        """Expect what matches at the target step, and prefetch what is near (R19). What is denied, too far off or in tier 0
        stays armed (D19)."""
        self._check_range(c)
        self._check_step(c.target)
        rows = self._hinted(c, "prefetch_count")
        self.counters["last_target_step"] = c.target
        directory = self.directory
        tier = directory.tier[rows]
        directory.access_step[rows] = c.target
        directory.armed[rows] = tier != 1
        directory.touched(rows)
        near = self._rescore(rows) > 0
        return Result("OK", matched=rows.size, triggers=move(self, NO_ROWS, rows[(tier >= 2) & near]))

    def _class(self, c: cmd.Class) -> Result:
        """Give what matches a class, and orders that fall along the range (R42)."""
        rows = self._matches(c)
        self._check_class(c.class_id)
        for name, value, most in (("base", c.base, 0xFF), ("shift", c.shift, 0xF)):
            if value > most:
                raise Refused("ERR_RANGE", beyond(name, value, most, "R42"))
        directory, start = self.directory, np.uint64(c.addr)
        va = directory.va[rows]
        blocks = (np.maximum(va, start) - start) // np.uint64(self.block_bytes)
        directory.class_id[rows] = c.class_id
        directory.order[rows] = 255 - np.minimum(c.base + (blocks >> np.uint64(c.shift)), 255)
        directory.touched(rows)
        self._rescore(rows)
        return Result("OK", matched=rows.size)

    def _share(self, c: cmd.Share) -> Result:
        return self._add_reference(self._hinted(c, "share_count"))

    def _share_index(self, c: cmd.ShareIndex) -> Result:
        row = self._valid_row(c.index)
        self.counters["share_count"] += 1
        return self._add_reference(row)

    def _add_reference(self, rows: NDArray[np.intp]) -> Result:
        """Count one more user of each row, which makes it shared prefix (R20). The priority follows at the next scoring (D3)."""
        full = self.directory.ref_count[rows] == 255
        self.counters["saturations"] += int(full.sum())
        self.directory.ref_count[rows] += ~full
        self.directory.prefix[rows] = True
        self.directory.touched(rows)
        return Result("OK", matched=rows.size)

    def _release(self, c: cmd.Release) -> Result:
        return self._drop_reference(self._matches(c))

    def _release_index(self, c: cmd.ReleaseIndex) -> Result:
        return self._drop_reference(self._valid_row(c.index))

    def _drop_reference(self, rows: NDArray[np.intp]) -> Result:
        """Count one user less of each row; without a user that is refused and counted (R20). prefix stays (D3)."""
        held = self.directory.ref_count[rows] > 0
        self.counters["release_refusals"] += int((~held).sum())
        self.directory.ref_count[rows] -= held
        self.directory.touched(rows)
        return Result("OK", matched=rows.size)

    # ---- settings --------------------------------------------------------------------------------------------------
    def _set(self, c: cmd.Set) -> Result:
        """Put a setting in force, where `code_of_set` allows it (R6, R16, D2), swap the banks of PTABLE (R45), or clear the
        counters (D4)."""
        if c.setting == "CLEAR_COUNTERS":
            self.clear_counters()
            return Result("OK")
        code = code_of_set(c.setting, c.value, self.entries, self.block_bytes, empty=not self.directory.count)
        if code != "OK":
            raise Refused(code, self._why_not_set(c, code))
        self.in_force[c.setting] = 1 - self.in_force[c.setting] if c.setting == "PTABLE_COMMIT" else c.value
        self.place_tiers()
        return Result("OK")

    def _why_not_set(self, c: cmd.Set, code: str) -> str:
        name = f"{NAME_OF[c.setting]} ({c.setting})" if c.setting in NAME_OF else c.setting
        if code == "ERR_NOT_EMPTY":
            return f"{name} is asked to be {c.value}; while blocks are loaded it stays, and {self.directory.count} are (R10)"
        return f"{name} is {c.value}; {rule_of(c.setting, self.entries, self.block_bytes)}"

    # ---- parts of the rules ----------------------------------------------------------------------------------------
    def _check_tokens(self, c: cmd.Load) -> None:
        """Refuse tokens that are not those of one block (R10)."""
        start, last = c.token_start, c.token_start + self.block_tokens - 1
        if start % self.block_tokens:
            rule = f"a block begins at a multiple of {self.block_tokens} tokens (R10)"
            raise Refused("ERR_RANGE", f"token_start is {start}; {rule}")
        if not start <= c.token_end <= last:
            raise Refused("ERR_RANGE", f"token_end is {c.token_end}; a block from {start} on ends at {start} to {last} (R10)")

    @staticmethod
    def _check_range(c: WithRange) -> None:
        """Refuse an empty range and one past the end of addresses (R10). It may end at 2^64 exactly (D1)."""
        if c.length == 0:
            raise Refused("ERR_LEN", "length is 0; a range has 1 byte or more (R10)")
        if c.addr + c.length > 1 << 64:
            raise Refused("ERR_LEN", f"the range ends at {c.addr + c.length:#x}; addresses end at 2^64 (R10)")

    def _matches(self, c: WithRange) -> NDArray[np.intp]:
        """The rows that a command's range selects, in index order (contract section 4)."""
        self._check_range(c)
        return self.directory.in_range(c.addr, c.length)

    def _hinted(self, c: WithRange, counter: str) -> NDArray[np.intp]:
        """The same for an accepted hint: counts it and shows its range in telemetry (D4)."""
        rows = self._matches(c)
        self.counters[counter] += 1
        self.counters["last_va"] = c.addr
        self.counters["last_len"] = c.length
        return rows

    def _valid_row(self, index: int) -> NDArray[np.intp]:
        if index >= self.entries or not self.directory.valid[index]:
            raise Refused("ERR_NOT_FOUND", f"entry {index} holds no block; entries are 0 to {self.entries - 1} (R10)")
        return np.array([index])

    def _check_step(self, step: int) -> None:
        if step >= STEP_LIMIT:
            raise Refused("ERR_RANGE", beyond("step", step, STEP_LIMIT - 1, "R6", "a step has 32 bits"))
        if step < self.step:
            raise Refused("ERR_STEP_ORDER", f"step is {step}; steps do not go back, {self.step} or more (R10)")

    def _check_hint(self, hint: int) -> None:
        """Refuse a hint with more bits than it has, and one that sets a class that PTABLE does not have (R41, R45)."""
        if hint >> 17:
            raise Refused("ERR_RANGE", f"hint is {hint:#x}; class, order and set are 17 bits, 0 to 0x1ffff (R41)")
        if hint & cmd.HINT_SET:
            self._check_class(hint & 0xFF)

    def _check_class(self, class_id: int) -> None:
        if class_id >= self.classes:
            what = f"the table of this device has {self.classes} classes"
            raise Refused("ERR_RANGE", beyond("class", class_id, self.classes - 1, "R45", what))

    def _take_hint(self, index: int, hint: int) -> None:
        if hint & cmd.HINT_SET:
            self.directory.hint[index] = hint & 0xFFFF

    def _guarded(self, rows: Rows) -> NDArray[np.bool_]:
        """A shared block in use, which the device neither evicts nor frees (R15, R18, R21)."""
        return self.directory.prefix[rows] & (self.directory.ref_count[rows] > 0)

    def _accessed(self, index: int, F: int) -> None:
        """Entry `index` is accessed now, for the F-th time (R11, R13)."""
        d = self.directory
        d.R[index], d.F[index], d.access_step[index] = 255, F, self.step
        if d.pinned[index]:
            d.priority[index] = HIGHEST
        elif self.ranked:
            d.priority[index] = rank_accessed(int(d.hint[index]), self.table)
        else:
            d.priority[index] = weighted_sum_accessed(255, F, int(d.prefix[index]), self.in_force)
        d.touched(index)

    @property
    def ranked(self) -> bool:
        """Is the ranked policy in force (R40)?"""
        return self.in_force["POLICY"] == RANKED

    def _rescore(self, rows: Rows) -> NDArray[np.uint16]:
        """Store the priority of `rows` (R14, R44) and return S, which some decisions need."""
        d = self.directory
        distance = steps_between(d.access_step[rows], self.step)
        S = nearness(distance, self.in_force["WINDOW"])
        if self.ranked:
            P = rank(distance, d.hint[rows], self.table)
        else:
            P = weighted_sum(S, d.R[rows], d.F[rows], d.prefix[rows], self.in_force)
        P[d.pinned[rows]] = HIGHEST
        d.priority[rows] = P * d.valid[rows]
        d.aged(rows)
        return S

    _RULES: dict[type[cmd.Command], Callable[[ReferenceModel, Any], Result]] = {  # Any: each takes its own kind
        cmd.Load: _load, cmd.Lookup: _lookup, cmd.Touch: _touch, cmd.Score: _score, cmd.Unload: _unload,
        cmd.UnloadRequest: _unload_request, cmd.Step: _advance, cmd.Hot: _hot, cmd.Evict: _evict,
        cmd.Prefetch: _prefetch, cmd.Class: _class, cmd.Share: _share, cmd.ShareIndex: _share_index, cmd.Release: _release,
        cmd.ReleaseIndex: _release_index, cmd.Set: _set,
    }  # fmt: skip


def _key(c: cmd.Load | cmd.Score, token: int) -> str:
    return f"request {c.request}, layer {c.layer}, head {c.head}, token {token}"


def reference_of(size: Parameters) -> ReferenceModel:
    """The model of a design with these parameters."""
    return ReferenceModel(size.entries, size.block_tokens, size.head_dim, size.classes, size.nmce)
