"""The device as a Python object, for notebooks and scripts: what `kvfpga.open` returns has these methods (docs/python.md).

    with kvfpga.open("sim", entries=1024) as dev:
        dev.load(request=7, layer=0, head=0, tokens=(0, 31), va=0x7F001000)
        dev.step(120).triggers

Each method is one command of the contract, sent by `execute` and so compared with the reference model like any other. A
method returns the command's `Result`, or raises:

    DeviceRefused      the device answered with an ERR_ code; `error.code`, `error.result`. Nothing has changed (R10), but for
                       ERR_NOT_RESIDENT and ERR_MEMORY of a score, whose access counts
    UsageError         a value that is no such value (a float, a negative number, a request of 17 bits): nothing was sent
    DifferenceError    hardware and reference disagree; `error.report` says where
    TargetError        the target failed: BusError, IdleTimeout, BuildError

`execute(command)` takes the same commands as objects (contract/commands.py) and returns what the device answered, refusals too.

Units: `va` and `length` in bytes, steps and token positions as they are counted by the runtime. Whole numbers may be Python's or
numpy's.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract import commands as cmd
from ..contract import inputs, presets, rank_tables, script
from ..contract.commands import Command, Result
from ..contract.entry import DUMP_TYPES
from ..contract.errors import DeviceRefused, NoMemoryError, UsageError
from ..contract.settings import LINEAR, code_of_set
from .arguments import guard
from .arguments import number as _number
from .scored import BlockScores, block_scores, score

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from ..hepc_ref import ReferenceModel
    from .recorder import Recorder
    from .report import Verified

ENTRY_DTYPE = np.dtype([("index", "u4"), *DUMP_TYPES.items()])
"""One row of `Surface.table`: the keys of a `dump` entry, in its order (contract section 8)."""


class Primitives(ABC):
    """What `lockstep.Lockstep` and `reference.Reference` each do in their own way.

    `model`: the reference. `check`: are results compared, and `checked`: was the last one? `commands`, `checks`, `differences`
    count since it was opened.
    """

    model: ReferenceModel
    entries: int
    block_bytes: int
    check: bool
    recorder: Recorder | None
    commands: int
    checks: int
    differences: int
    closed = False
    closing: Callable[[], None] | None = None
    """Called once the device is closed."""
    replayer: Callable[..., Any] | None = None
    """What `replay` calls; `kvfpga.open` hands it in, for replays belong to a higher layer."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        guard(cls)

    @property
    @abstractmethod
    def checked(self) -> bool: ...

    @abstractmethod
    def execute(self, command: Command) -> Result: ...

    @abstractmethod
    def execute_many(self, commands: Sequence[Command]) -> list[Result]: ...

    @abstractmethod
    def run_through(self, commands: Sequence[Command], checks: Iterable[int]) -> Iterator[list[Result]]: ...

    @abstractmethod
    def telemetry(self) -> dict[str, int]: ...

    @abstractmethod
    def settings(self) -> dict[str, int]: ...

    @abstractmethod
    def digest(self, lo: int = 0, hi: int | None = None) -> int: ...

    @abstractmethod
    def dump(self) -> list[dict[str, Any]]: ...

    @abstractmethod
    def entry(self, index: int) -> dict[str, int]: ...

    @abstractmethod
    def read_entries(self, lo: int, hi: int) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]: ...

    @property
    @abstractmethod
    def reaches_memory(self) -> bool: ...

    @abstractmethod
    def memory_read(self, addr: int, size: int) -> bytes: ...

    @abstractmethod
    def memory_write(self, addr: int, data: bytes) -> None: ...

    @abstractmethod
    def read_table(self) -> NDArray[np.uint8]: ...

    @abstractmethod
    def write_table(self, codes: NDArray[np.uint8]) -> None: ...

    @abstractmethod
    def overlap_scores(self, commands: Sequence[cmd.Score]) -> list[Result]: ...

    @abstractmethod
    def read_queries(self, slot: int, count: int) -> NDArray[np.uint16]: ...

    @abstractmethod
    def write_queries(self, slot: int, bits: NDArray[np.uint16]) -> None: ...

    @abstractmethod
    def reset(self) -> None: ...

    @abstractmethod
    def verify(self, progress: Callable[[int, int], None] | None = None) -> Verified: ...

    @abstractmethod
    def sync(self, progress: Callable[[int, int], None] | None = None) -> int: ...

    @abstractmethod
    def read_register(self, name: str) -> int: ...

    @abstractmethod
    def write_register(self, name: str, value: int) -> None: ...

    @abstractmethod
    def read_word(self, address: int) -> int: ...

    @abstractmethod
    def write_word(self, address: int, value: int) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def __repr__(self) -> str:
        """Without asking the device."""
        checked = f", {self.checks} checks, {self.differences} differences" if self.check else ""
        state = "closed" if self.closed else f"{self.commands} commands{checked}"
        return f"<{type(self).__name__}: {self.entries} blocks of {self.block_bytes} bytes, {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Surface(Primitives):
    """Convenience methods over the primitives."""

    # ---- blocks ------------------------------------------------------------------------------------------------------
    def load(
        self, request: int, layer: int, head: int, tokens: tuple[int, int] | range, va: int, tier: int = 1,
        data: bytes | ArrayLike | None = None, class_id: int | None = None, order: int | None = None,
    ) -> Result:  # fmt: skip
        """Put one block into the directory (R11); `Result.index` is its entry.

        tokens: (first, last), the last one inclusive, or a range such as range(32, 64). request 0 is the shared prefix.
        tier: where the block is. Where tier 1 is asked for and full, the block lands in EVICT_TIER: `entry(index)["tier"]`.
        data: the block's bytes, written to where it landed: bytes, or an array of float16, of any shape and byte order (the full
        device: [2, 32, 128], keys then values); bit patterns may be integers of 16 or 8 bits. None leaves what the memory holds.
        class_id, order: what the ranked policy knows the block by (R41), 0 to 255; where one is given the other is 0.

        Refused: ERR_RANGE (tokens that are not one block, tier above 3, a class that the table does not have), ERR_EXISTS (the
        key is loaded), ERR_FULL.
        """
        first, last = _tokens(tokens)
        content = None if data is None else self._content(data)
        if content is not None:
            self.require_memory()
        block = cmd.Load(
            _number("request", request, 16), _number("layer", layer, 8), _number("head", head, 8), first, last,
            _number("va", va), _number("tier", tier, 32), _hint(class_id, order),
        )  # fmt: skip
        result = self._run(block)
        if content is not None and result.index is not None:
            self.memory_write(self.entry(result.index)["phys_addr"], content)
        return result

    def unload(self, va: int, length: int) -> Result:
        """Free the blocks that overlap [va, va+length) (R21). Shared ones in use stay, and are counted as `guards`."""
        return self._run(cmd.Unload(*_range(va, length)))

    def unload_request(self, request: int) -> Result:
        """Free all blocks of one request (R21). Shared ones in use stay. Refused: ERR_RANGE."""
        return self._run(cmd.UnloadRequest(_number("request", request)))

    def lookup(
        self, request: int, layer: int, head: int, token_pos: int, touch: bool = False, class_id: int | None = None,
        order: int | None = None,
    ) -> Result:  # fmt: skip
        """Find the block that holds a token, of the request or of the shared prefix (R12). A miss is no refusal: `index`,
        `tier` and `phys_addr` are None then, and `matched` 0.

        touch: it is an access (R13): the block ages anew, and comes back from tier 2 or 3.
        class_id, order: of a touch, what the block has from then on, as in `load`. Without them it keeps what it has.
        """
        hint = _hint(class_id, order)
        key = _number("request", request, 16), _number("layer", layer, 8), _number("head", head, 8)
        position = _number("token_pos", token_pos, 32)
        if touch:
            return self._run(cmd.Touch(*key, position, hint))
        if hint:
            raise UsageError("class_id and order are for an access", "pass touch=True, or leave them out")
        return self._run(cmd.Lookup(*key, position))

    # ---- hints -------------------------------------------------------------------------------------------------------
    def step(self, n: int) -> Result:
        """Advance to decode step n (R15): all blocks age, cold ones leave tier 1, armed ones come back. `Result.triggers` are
        the blocks set in motion, in the order queued; `matched` is the number of valid entries.

        Refused: ERR_STEP_ORDER (n is below the current step), ERR_RANGE (above 32 bits).
        """
        return self._run(cmd.Step(_number("n", n)))

    def hot(self, va: int, length: int) -> Result:
        """Pin the blocks that overlap [va, va+length): they are wanted now (R17). Refused: ERR_LEN."""
        return self._run(cmd.Hot(*_range(va, length)))

    def evict(self, va: int, length: int) -> Result:
        """Send them out of tier 1 (R18). Shared ones in use stay, and are counted as `guards`. Refused: ERR_LEN."""
        return self._run(cmd.Evict(*_range(va, length)))

    def prefetch(self, va: int, length: int, step: int) -> Result:
        """They will be wanted at decode step `step` (R19). Refused: ERR_LEN; ERR_STEP_ORDER, ERR_RANGE as `step`."""
        return self._run(cmd.Prefetch(*_range(va, length), _number("step", step)))

    def share(self, va: int, length: int) -> Result:
        """One more user of the blocks that overlap [va, va+length): they become shared prefix (R20). Refused: ERR_LEN."""
        return self._run(cmd.Share(*_range(va, length)))

    def release(self, va: int, length: int) -> Result:
        """One user less (R20); a block that nobody holds is counted in `release_refusals`. Refused: ERR_LEN."""
        return self._run(cmd.Release(*_range(va, length)))

    def classify(self, va: int, length: int, class_id: int, base: int = 0, shift: int = 0) -> Result:
        """Give the blocks that overlap [va, va+length) a class, and orders from 255 - base downwards, by one every 2^shift blocks
        (R42). Refused: ERR_LEN; ERR_RANGE (a class that the table does not have, base above 255, shift above 15)."""
        place = _range(va, length)
        return self._run(cmd.Class(*place, _number("class_id", class_id), _number("base", base), _number("shift", shift)))

    # ---- attention scores --------------------------------------------------------------------------------------------
    def query_write(self, slot: int, values: ArrayLike) -> None:
        """Put a query into a slot of the query buffer, 0 to 63 (R30): float16[HEAD_DIM], as the model has it, without the scale
        1/sqrt(HEAD_DIM). float16[n, HEAD_DIM] goes into n slots from `slot` on. It stays there until it is written anew; a reset
        leaves it."""
        from ..contract import queries

        self.write_queries(slot, queries.bits(values, queries.size(self.model)))

    def query_read(self, slot: int) -> NDArray[np.float16]:
        """The query in a slot: float16[HEAD_DIM], a copy."""
        found: NDArray[np.float16] = self.read_queries(slot, 1)[0].view(np.float16).copy()
        return found

    def score(
        self, request: int, layer: int, head: int, token_pos: int, slot: int, exp: bool = False, wait: bool = False,
        class_id: int | None = None, order: int | None = None,
    ) -> BlockScores:  # fmt: skip
        """Attention scores of the block that holds a token, computed next to the memory: q·k / sqrt(HEAD_DIM) of each of its keys
        and the query in `slot`, exact but for one rounding (R31). It is an access, as `lookup` with touch=True is.

        exp: numerators of a softmax too (R32). wait: a block that was in tier 2 or 3, which the access brings back, is scored
        once it is there. class_id, order: as in `load`; without them the block keeps what it has.

        Refused: ERR_NOT_FOUND; ERR_NOT_RESIDENT (the block is not in tier 1: its access counts, and it comes back where there is
        room); ERR_RANGE (a slot above 63); ERR_UNSUPPORTED (a build without NMCE); ERR_MEMORY.
        """
        command = self._score(request, layer, head, token_pos, slot, exp, _hint(class_id, order))
        return block_scores(_accepted(command, score(self.execute, command, wait)))

    def score_many(self, blocks: Iterable[tuple[int, int, int, int, int]], exp: bool = False) -> list[BlockScores]:
        """The same for several blocks, each as (request, layer, head, token_pos, slot): the device scores one while the result of
        the one before is read. DeviceRefused where one is refused; all of them have been touched then."""
        commands = [self._score(*block, exp, 0) for block in blocks]
        return [block_scores(_accepted(*pair)) for pair in zip(commands, self.overlap_scores(commands))]

    @staticmethod
    def _score(request: int, layer: int, head: int, token_pos: int, slot: int, exp: bool, hint: int) -> cmd.Score:
        key = _number("request", request, 16), _number("layer", layer, 8), _number("head", head, 8)
        return cmd.Score(*key, _number("token_pos", token_pos, 32), _number("slot", slot), cmd.NUMERATORS * bool(exp), hint)

    # ---- settings ----------------------------------------------------------------------------------------------------
    def ranked(self, table: ArrayLike | str | None = None, fill_age: int | None = None) -> dict[str, int]:
        """Put the ranked policy in force (R40): from the next STEP on, tier 1 keeps the T1_CAPACITY blocks that rank highest.

        table: the code of each class and age bucket (R43), an array uint8[classes, 64], or "age", by which what was used longest
        ago goes first; None keeps the one in force, which is all zero after a reset. fill_age: FILL_AGE (R46).

        All settings as they are afterwards. Refused, and then nothing changes: ERR_RANGE (fill_age above 255).
        """
        codes = None if table is None else rank_tables.codes(table, self.model.classes)
        for command in rank_tables.before(None if fill_age is None else _number("fill_age", fill_age)):
            self._run(command)
        if codes is not None:
            self.write_table(codes)
        for command in rank_tables.behind(codes is not None):
            self._run(command)
        return self.settings()

    def linear(self) -> dict[str, int]:
        """Put the linear policy in force (R14 to R16), the one after a reset. All settings as they are afterwards."""
        self._run(cmd.Set("POLICY", LINEAR))
        return self.settings()

    def set(self, **values: int) -> dict[str, int]:
        """Put settings in force by their names in `settings()`, such as T1_CAPACITY=64, EVICT_TIER=3, STRICT=0; all settings
        as they are afterwards.

        Refused, and then none of them changes: ERR_RANGE; ERR_NOT_EMPTY (EVICT_TIER and TIER_BASE while blocks are loaded).
        Warns where the weights let priorities wrap (R14).
        """
        return self._set(values)

    def weights(self, preset: str | None = None, /, **values: int) -> dict[str, int]:
        """Weights, thresholds and window of the score (R14) by their names on the command line: w_r, w_f, w_s, w_d, evict,
        prefetch, window. Without arguments it shows them; else it sets those given, over `preset` ("balanced" or "seed", which
        has the reset values). All of them as they are afterwards.

        Refused: ERR_RANGE (a weight or window above 255, a threshold above 65535); then none of them changes.
        """
        if preset is not None and (not isinstance(preset, str) or preset not in presets.PRESETS):
            raise UsageError(f"{preset!r} is not a preset", "presets: " + ", ".join(presets.PRESETS))
        if unknown := sorted(set(values) - set(presets.SETTING_OF)):
            raise UsageError(f"{', '.join(unknown)}: no such weight", "weights: " + ", ".join(presets.SETTING_OF))
        wanted = (presets.PRESETS[preset] if preset else {}) | values
        named = {presets.SETTING_OF[name]: value for name, value in wanted.items()}
        return presets.weights(self._set(named))

    def clear_counters(self) -> Result:
        """Set all counters of `telemetry()` to zero; the step, t1_used and valid_entries stay."""
        return self._run(cmd.Set("CLEAR_COUNTERS", 0))

    def replay(self, trace: Any = None, **options: Any) -> Any:
        """Replay a request trace, loaded or named by its path, on this device, which must be empty (lab/replay.py). Without one
        it is the small trace that comes along. The options are those of `kvfpga.ReplayOptions`, such as limit=100 or
        policy="ranked". Returns a `kvfpga.ReplaySummary`.

        UsageError for a bad trace, an unknown option, or a device that was not opened by `kvfpga.open`."""
        if self.replayer is None:
            raise UsageError("replay: this device was not opened by kvfpga.open", "use kvfpga.replay(device, trace, options)")
        return self.replayer(self, trace, **options)

    # ---- looking -----------------------------------------------------------------------------------------------------
    def table(self) -> NDArray[np.void]:
        """The valid entries in index order: a structured array[blocks] of ENTRY_DTYPE, read back from the device.
        `pandas.DataFrame(dev.table())` is a data frame. The same as a list of dictionaries is `dump()`."""
        return np.array([tuple(entry.values()) for entry in self.dump()], ENTRY_DTYPE)

    def block(self, index: int) -> NDArray[np.float16]:
        """What a block holds, read from where it is now: float16[2, BLOCK_TOKENS, HEAD_DIM], keys then values; a copy.
        DeviceRefused (ERR_NOT_FOUND) where the entry is not valid."""
        index = _number("index", index)
        entry = self.entry(index) if index < self.entries else {"valid": 0}
        if not entry["valid"]:
            what = f"ERR_NOT_FOUND: entry {index} of {self.entries} holds no block"
            raise DeviceRefused("ERR_NOT_FOUND", what, "`dump` shows those that do")
        content = np.frombuffer(self.memory_read(entry["phys_addr"], self.block_bytes), "<f2")
        found: NDArray[np.float16] = content.reshape(2, self.model.block_tokens, -1).copy()
        return found

    def require_memory(self) -> None:
        """UsageError where the bytes of blocks do not go through the target; to be asked before a command that goes with some."""
        if not self.reaches_memory:
            raise NoMemoryError("this target")

    # ---- parts -------------------------------------------------------------------------------------------------------
    def _run(self, command: Command) -> Result:
        return _accepted(command, self.execute(command))

    def _set(self, values: dict[str, int]) -> dict[str, int]:
        known = self.settings()
        if unknown := sorted(set(values) - set(known)):
            raise UsageError(f"{', '.join(unknown)}: no such setting", "settings: " + ", ".join(known))
        if not values:
            return known
        sets = [cmd.Set(name, _number(name, value)) for name, value in values.items()]
        if len(sets) > 1:  # what the device will refuse comes first, so that a refusal changes nothing
            empty = self.telemetry()["valid_entries"] == 0
            sets.sort(key=lambda c: code_of_set(c.setting, c.value, self.entries, self.block_bytes, empty) == "OK")
        for command in sets:
            self._run(command)
        settings = self.settings()
        warning = presets.wrap_warning(settings)
        if warning and any(name.startswith("WEIGHT_") for name in values):
            warnings.warn(warning, stacklevel=3)  # the line that called `set` or `weights`
        return settings

    def _content(self, data: bytes | ArrayLike) -> bytes:
        """`data` as the bytes of one block."""
        if isinstance(data, (bytes, bytearray)):
            inputs.check_block_size(len(data), "data", self.block_bytes)
            return bytes(data)
        try:
            array = np.asarray(data)
        except (ValueError, TypeError) as error:
            raise UsageError(f"data is no array: {error}", "give bytes, or an array of numpy.float16") from None
        return inputs.block_bytes(array, "data", self.block_bytes)


def _accepted(command: Command, result: Result) -> Result:
    if result.code == "OK":
        return result
    meaning, remedy = cmd.MEANING.get(result.code, "see contract R10"), cmd.REMEDY.get(result.code)
    raise DeviceRefused(
        result.code, f"{script.line(command)}: refused, {result.code}: {meaning}{': ' * bool(result.why)}{result.why}",
        remedy or "nothing has changed; `execute` returns a refusal instead of raising it", result,
    )  # fmt: skip


def _hint(class_id: int | None, order: int | None) -> int:
    given = {"class_id": class_id, "order": order}
    return cmd.hint_of(*(None if value is None else _number(name, value, 8) for name, value in given.items()))


def _range(va: int, length: int) -> tuple[int, int]:
    return _number("va", va), _number("length", length)


def _tokens(tokens: tuple[int, int] | range) -> tuple[int, int]:
    """(first, last) of what `load` takes."""
    if isinstance(tokens, range):
        if tokens.step != 1 or not tokens:
            raise UsageError(f"tokens {tokens} are not one token after another", "such as range(32, 64)")
        tokens = tokens[0], tokens[-1]
    try:
        first, last = tokens
    except (TypeError, ValueError):
        raise UsageError(f"tokens {tokens!r} are not (first, last)", "such as (32, 63), the last one inclusive") from None
    return _number("tokens", first, 32), _number("tokens", last, 32)
