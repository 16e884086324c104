"""`kvfpga demo`: a short guided run on a small workload of the project's own (workload.DEMO).

Three chats share a system prompt, and tier 1 is one block too small for them. In a few chapters the blocks are loaded,
shared, decoded, pinned, evicted, prefetched, released and unloaded; every kind of move of the contract happens at least
once. At the end a table says what moved where and why, and the bytes of every block are read back from where it is.

The reasons in the table are not part of the story: they follow from the command and from what the entry holds, as read
from the device (`_why`).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..contract import commands as cmd
from ..contract import script
from ..contract.commands import EVICT, Command, Result, Trigger
from ..contract.errors import DeviceRefused, DifferenceError
from ..contract.presets import PRESETS, sets
from ..contract.settings import LINEAR
from .checked_device import CheckedDevice, check_block, require_empty
from .workload import DEMO, Chat, Workload, block_pattern

if TYPE_CHECKING:
    from rich.console import Console

LAYER, HEAD = 12, 0

_COUNTED = (
    "step_count", "hits_t1", "hits_t2", "misses", "evict_triggers", "prefetch_triggers", "evict_bytes",
    "prefetch_bytes", "denials", "guards",
)  # fmt: skip

_JSON_NAMES = {"from_tier": "from", "to_tier": "to"}
"""As triggers are printed (contract section 8)."""


@dataclass(frozen=True)
class Block:
    """A block of the story: `name` as in "Bob 2", `token` where it starts."""

    name: str
    request: int
    token: int
    va: int


@dataclass(frozen=True)
class Move:
    """One migration: the step and the command line that set it off, what it was, why, and the bytes it copied."""

    step: int
    command: str
    block: str
    index: int
    channel: str
    from_tier: int
    to_tier: int
    why: str
    bytes: int


@dataclass(frozen=True)
class DemoSummary:
    """`counters` is the device's telemetry (R23) over the demo; `blocks` were read back and compared, all bytes."""

    moves: tuple[Move, ...]
    commands: int
    cycles: int
    seconds: float
    blocks: int
    bytes_compared: int
    counters: dict[str, int]
    checks: int
    differences: int

    def to_json(self) -> dict[str, Any]:
        moves = [{_JSON_NAMES.get(key, key): value for key, value in asdict(move).items()} for move in self.moves]
        return {"command": "demo", **asdict(self), "moves": moves, "checked": self.checks > 0}


def run(lockstep: CheckedDevice, console: Console, as_json: bool = False) -> DemoSummary:
    """Tell the story on `lockstep` (an empty device). Narrates on `console`, unless `as_json`: then the caller prints
    the summary's `to_json()`. A disagreement of hardware and reference, or a wrong byte, raises `DifferenceError`.

    The settings that the story needs are put back at the end; the step counter stays where it got to.
    """
    require_empty(lockstep, "the demo")
    return _Story(lockstep, None if as_json else console, DEMO).tell()


class _Story:
    def __init__(self, device: CheckedDevice, console: Console | None, workload: Workload):
        self.device = device
        self.console = console
        self.workload = workload
        self.settings = device.settings()
        self.put_in_force = [
            *sets(PRESETS[workload.preset]),
            cmd.Set("T1_CAPACITY", workload.t1_capacity),
            cmd.Set("EVICT_TIER", 2),
            cmd.Set("POLICY", LINEAR),
        ]
        self.before = device.telemetry()
        self.checks, self.differences = device.checks, device.differences
        self.start = self.step = self.before["current_step"]
        self.commands = self.cycles = self.chapters = 0
        self.moves: list[Move] = []
        self.placed: dict[int, Block] = {}  # entry → block
        self.entries: dict[int, dict[str, int]] = {}  # entry → its fields before the next command, for `_why`
        tokens = device.model.block_tokens
        count = workload.prompt_blocks
        self.prompt = [Block(f"prompt {i + 1}", 0, i * tokens, workload.va + i * device.block_bytes) for i in range(count)]
        self.of = {
            chat.name: [
                Block(
                    f"{chat.name} {i + 1}", chat.request, (count + i) * tokens,
                    workload.va + (number + 1) * workload.va_stride + i * device.block_bytes,
                )
                for i in range(chat.blocks)
            ]
            for number, chat in enumerate(workload.chats)
        }  # fmt: skip

    def tell(self) -> DemoSummary:
        started = time.perf_counter()
        self._set_up()
        self._load()
        self._share()
        self._decode()
        self._hot()
        self._evict()
        self._prefetch()
        self._release()
        compared = self._read_back()
        self._unload()
        after = self.device.telemetry()
        summary = DemoSummary(
            moves=tuple(self.moves),
            commands=self.commands,
            cycles=self.cycles,
            seconds=time.perf_counter() - started,
            blocks=compared,
            bytes_compared=compared * self.device.block_bytes,
            counters={key: after[key] - self.before[key] for key in _COUNTED},
            checks=self.device.checks - self.checks,
            differences=self.device.differences - self.differences,
        )
        if self.console:
            _render(summary, self.console)
        return summary

    # ---- the chapters ----------------------------------------------------------------------------------------------
    def _set_up(self) -> None:
        for command in self.put_in_force:
            self._do(command)
        names = [chat.name for chat in self.workload.chats]
        self._say(
            f"{', '.join(names[:-1])} and {names[-1]} chat with one model, under one system prompt. Their KV cache "
            f"lives in blocks of {self.device.model.block_tokens} tokens; tier 1 has {self.workload.t1_capacity} places, "
            f"tier 2 is host memory. Weights: `{self.workload.preset}`."
        )

    def _load(self) -> None:
        blocks = [*self.prompt, *(block for own in self.of.values() for block in own)]
        for block in blocks:
            self._place(block)
        below = [block.name for index, block in self.placed.items() if self.entries[index]["tier"] != 1]
        self._chapter(
            "Load",
            f"{len(blocks)} blocks, {self._telemetry('t1_used')} of them in tier 1, which is full now: "
            f"{' and '.join(below)} had to start in tier 2.",
        )

    def _share(self) -> None:
        for _ in self.workload.chats:
            self._do(cmd.Share(*self._range(self.prompt)))
        self._chapter(
            "Share",
            f"All {len(self.workload.chats)} chats hold on to the prompt, which is stored once: "
            f"reference count {self._entry(self.prompt[0])['ref_count']}.",
        )

    def _decode(self) -> None:
        """Bob falls silent for longer than his blocks can stay above EVICT_THRESH; the others are read all the time."""
        alice, _, carol = self.workload.chats
        denied = self._telemetry("denials")
        for n in range(1, 151):
            self._advance(n)
            if n % 10 == 0:
                self._read(alice)
                self._read(carol)
        hits = self._telemetry("hits_t1") - self.before["hits_t1"]
        self._chapter(
            "Decode",
            f"150 steps. Alice and Carol are read every tenth: {hits} hits in tier 1. Bob is silent, so his blocks "
            "cool down until they are evicted; only then is there room for Carol's last, denied "
            f"{self._telemetry('denials') - denied} times before.",
        )

    def _hot(self) -> None:
        bob = self.of["Bob"]
        self._do(cmd.Hot(*self._range(bob[:1])))
        self._advance(151)
        self._chapter(
            "Hot",
            f"Bob is typing. {bob[0].name} is pinned, at the highest priority there is: the next step fetches it.",
        )

    def _evict(self) -> None:
        guards = self._telemetry("guards")
        self._do(cmd.Evict(*self._range(self.of["Carol"])))
        self._do(cmd.Evict(*self._range(self.prompt)))
        self._chapter(
            "Evict",
            "Carol leaves for a while, and the host evicts her blocks at once. The one that came from tier 2 still has "
            "its copy there and costs no bytes. The prompt is asked for as well, but it is in use: "
            f"{self._telemetry('guards') - guards} guards.",
        )

    def _prefetch(self) -> None:
        target = self.start + 500
        self._do(cmd.Prefetch(*self._range(self.of["Bob"][1:]), target))
        self._do(cmd.Prefetch(*self._range(self.of["Carol"][:1]), self.start + 171))
        self._advance(240)
        waiting = len(self.moves)
        self._advance(246)
        self._chapter(
            "Prefetch",
            f"{self.of['Carol'][0].name} is wanted in 20 steps, near enough to fetch at once. Bob's others are wanted "
            f"at step {target}, too far off: they wait, armed, and {len(self.moves) - waiting} start when step "
            f"{self.step} has that step in its window of {self.device.settings()['WINDOW']}.",
        )

    def _release(self) -> None:
        for _ in self.workload.chats:
            self._do(cmd.Release(*self._range(self.prompt)))
        self._do(cmd.Evict(*self._range(self.prompt)))
        self._chapter("Release", "All chats let go of the prompt. Now it can be evicted like any other block.")

    def _read_back(self) -> int:
        """Every block, wherever it has got to, must hold what was written when it was loaded."""
        settings = self.device.settings()
        for index, block in self.placed.items():
            tier = self._entry(block)["tier"]
            addr = settings[f"TIER_BASE{tier}"] + index * self.device.block_bytes  # where it is follows from its tier (D8)
            check_block(self.device, f"{block.name} (entry {index}, tier {tier})", addr, block.va)
        return len(self.placed)

    def _unload(self) -> None:
        for chat in self.workload.chats:
            self._do(cmd.UnloadRequest(chat.request))
        self._do(cmd.Unload(*self._range(self.prompt)))
        self._chapter("Unload", f"The chats are over: {self._telemetry('valid_entries')} entries are left.")
        for command in self.put_in_force:
            self._do(cmd.Set(command.setting, self.settings[command.setting]))

    # ---- parts -----------------------------------------------------------------------------------------------------
    def _place(self, block: Block) -> None:
        """LOAD, and the block's own bytes into the place that it got."""
        last = block.token + self.device.model.block_tokens - 1
        index = self._do(cmd.Load(block.request, LAYER, HEAD, block.token, last, block.va)).index
        if index is None:
            raise DifferenceError(f"the load of {block.name} was accepted, but left no entry index (R5)")
        self.placed[index] = block
        self.entries[index] = entry = self.device.entry(index)
        self.device.memory_write(entry["phys_addr"], block_pattern(block.va, self.device.block_bytes))

    def _advance(self, n: int) -> None:
        self.step = self.start + n
        self._do(cmd.Step(self.step))

    def _read(self, chat: Chat) -> None:
        """What attention reads for the chat's next token: the prompt (by the fallback of R12) and its own blocks."""
        for block in [*self.prompt, *self.of[chat.name]]:
            self._do(cmd.Touch(chat.request, LAYER, HEAD, block.token))

    def _do(self, command: Command) -> Result:
        result = self.device.execute_many([command])[0]
        self.commands += 1
        self.cycles += result.cycles
        if result.code != "OK":
            raise DeviceRefused(result.code, f"the device refused `{script.line(command)}`: {result.code}")
        self.moves += [self._move(command, trigger) for trigger in result.triggers]
        if result.triggers or isinstance(command, cmd.Prefetch):
            self.entries = {index: self.device.entry(index) for index in self.placed}
        return result

    def _move(self, command: Command, trigger: Trigger) -> Move:
        clean = trigger.channel == EVICT and not self.entries[trigger.index]["dirty"]
        return Move(
            self.step, script.line(command), self.placed[trigger.index].name, *trigger,
            self._why(command, trigger), 0 if clean else self.device.block_bytes,
        )  # fmt: skip

    def _why(self, command: Command, trigger: Trigger) -> str:
        """The rule that set the block in motion (R13, R15, R18, R19), with the figures that decided."""
        entry, settings = self.device.entry(trigger.index), self.device.settings()
        priority = entry["priority"]
        near = f"|{self.step} - {entry['access_step']}| < W {settings['WINDOW']}"
        if isinstance(command, cmd.Touch):
            return f"demand: touched in tier {trigger.from_tier}"
        if isinstance(command, cmd.Evict):
            return "EVICT: at once"
        if isinstance(command, cmd.Prefetch):
            return f"PREFETCH: at once, S>0 as {near}"
        if trigger.channel == EVICT:
            return f"STEP: P {priority} < EVICT_THRESH {settings['EVICT_THRESH']}"
        if self.entries[trigger.index]["armed"] and abs(self.step - entry["access_step"]) < settings["WINDOW"]:
            return f"STEP: armed, and S>0 as {near}"
        return f"STEP: P {priority} > PREFETCH_THRESH {settings['PREFETCH_THRESH']}"

    def _entry(self, block: Block) -> dict[str, int]:
        return self.device.entry(next(index for index, placed in self.placed.items() if placed is block))

    def _range(self, blocks: list[Block]) -> tuple[int, int]:
        return blocks[0].va, len(blocks) * self.device.block_bytes

    def _telemetry(self, key: str) -> int:
        return self.device.telemetry()[key]

    def _chapter(self, title: str, text: str) -> None:
        self.chapters += 1
        self._say(f"[bold cyan]{self.chapters} {title}[/]")
        self._say(text, indent=2)

    def _say(self, text: str, indent: int = 0) -> None:
        if self.console:
            from rich.padding import Padding

            self.console.print(Padding(text, (0, 0, 0, indent), expand=False), highlight=False)


# ---- for people -----------------------------------------------------------------------------------------------------


def _render(summary: DemoSummary, console: Console) -> None:
    from rich.table import Table

    table = Table(title="What moved, where and why", title_justify="left")
    for name in ("step", "block", "tiers", "why", "bytes"):
        table.add_column(name, justify="right" if name in ("step", "bytes") else "left")
    for move in summary.moves:
        colour = "red" if move.channel == EVICT else "green"
        tiers = f"[{colour}]{move.from_tier} → {move.to_tier}[/]"
        table.add_row(str(move.step), move.block, tiers, move.why, f"{move.bytes:,}")
    console.print(table)
    counted = summary.counters
    console.print(
        f"{summary.commands} commands, {counted['evict_triggers']} evictions, "
        f"{counted['prefetch_triggers']} prefetches, {counted['denials']} denied, {counted['guards']} guarded; "
        f"{counted['evict_bytes'] + counted['prefetch_bytes']:,} bytes moved. "
        f"The bytes of all {summary.blocks} blocks were where they belong.",
        highlight=False,
    )
    if summary.checks and not summary.differences:
        last = f"hardware and reference agree: {summary.checks} checks"
    else:
        last = "nothing was compared: there is no hardware here, or checks are off"
    console.print(last, highlight=False, markup=False, soft_wrap=True)
