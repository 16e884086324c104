"""FINAL and ANNOUNCE from the engine's process: a serving stack tells a device what comes, runs and ends.

    hooks = Hooks(kvfpga.open("tcp://lab3:7300"), block_tokens=16)   # any target, in lockstep
    hooks.queued(request)       # ANNOUNCE: its blocks are expected at each next decode step, until it is scheduled
    hooks.scheduled(request)    # it runs: its prompt's blocks are touched, and loaded where they are missing
    hooks.stepped()             # a scheduler step: blocks that answers have filled, then what was planned goes to the device
    hooks.finished(request)     # it has ended; FINAL where its session has: what only it has used will not be used again

vLLM calls them by connector.py, from its public interface for plug-ins. Any other stack may call them itself. Of a request they
want what vLLM's have: `request_id`; `block_hashes`, a name for each of its full blocks, growing with its answer;
`num_prompt_tokens`, `num_output_tokens`; and `kv_transfer_params`, a dict or None, in which a client may say FINAL.

What becomes of it is placing.py's affair, with the policy that it is given. `scheduled` finds a device that has stepped since the
last scheduler step, so that what was announced is in tier 1 before it is touched. Decode steps count as the engine's do, one a
scheduler step, and as its idle time does, one every `step_ms`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ...contract.errors import UsageError
from ...policy import programs
from .placing import Placement, Request
from .window import VA_BASE

if TYPE_CHECKING:
    from ...lockstep.lockstep import Lockstep
    from ...lockstep.reference import Reference

FINAL = "kvfpga_final"
"""In kv_transfer_params: true where the client will not come back to what this request leaves."""
FINALS = ("said", "all")
"""Which requests are a session's last: those that say so, or every one (no request ever continues another)."""


class Served(Protocol):
    """What is asked of a serving stack's request."""

    request_id: str
    num_prompt_tokens: int
    kv_transfer_params: dict[str, Any] | None

    @property
    def block_hashes(self) -> Sequence[Any]: ...
    @property
    def num_output_tokens(self) -> int: ...


class Hooks:
    """`block_tokens`: of the blocks that have names. `finals`: one of FINALS. `announces`: False leaves ANNOUNCE out.
    `placement` has the decisions."""

    def __init__(
        self, device: Lockstep | Reference, block_tokens: int, policy: str = programs.LEARNT, t1_capacity: int | None = None,
        step_ms: float = 100.0, finals: str = "said", announces: bool = True, va_base: int = VA_BASE,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        if finals not in FINALS:
            raise UsageError(f"finals {finals!r}: not a choice of requests", f"give {' or '.join(FINALS)}")
        self.placement = Placement(device, policy, t1_capacity, step_ms, announces, final=True, va_base=va_base)
        self.block_tokens, self.finals, self.announces = block_tokens, finals, announces
        self._clock, self._began, self._first = clock, clock(), self.placement.step
        self._stepped = False  # since the last scheduler step
        self._running: dict[str, _Running] = {}

    def queued(self, request: Served) -> None:
        if self.announces:
            self.placement.announce(request.request_id, self._prompt(request))

    def scheduled(self, request: Served) -> None:
        """Once for each time that it begins to run; again after it was preempted is no arrival."""
        self._step()
        self.placement.withdraw(request.request_id)
        if request.request_id not in self._running:
            names = self._prompt(request)
            placed = self.placement.arrive(names, request.num_prompt_tokens, self.block_tokens)
            self._running[request.request_id] = _Running(request, placed, len(names))

    def stepped(self) -> None:
        self._step()
        self._stepped = False
        for running in self._running.values():
            self._grow(running)
        self.placement.flush()

    def finished(self, request: Served) -> None:
        """Also for one that never ran."""
        self.placement.withdraw(request.request_id)
        running = self._running.pop(request.request_id, None)
        if running:
            self._grow(running)
            self.placement.complete(running.placed, request.num_output_tokens, self._is_final(request))

    def cleared(self) -> None:
        """The engine's cache was reset: what blocks hold is void."""
        self.placement.clear()
        self.placement.flush()

    def _step(self) -> None:
        """A decode step, once for each step of the scheduler, before anything that it schedules."""
        if self._stepped:
            return
        self._stepped = True
        passed = int((self._clock() - self._began) * 1000 / self.placement.step_ms)
        if self._running:
            self.placement.advance(self.placement.step + 1)
        else:
            self.placement.advance(max(self.placement.step + 1, self._first + passed))

    def _prompt(self, request: Served) -> list[Any]:
        return list(request.block_hashes[: request.num_prompt_tokens // self.block_tokens])

    def _grow(self, running: _Running) -> None:
        names = running.request.block_hashes[running.blocks :]
        if names:
            self.placement.grow(running.placed, list(names), self.block_tokens)
            running.blocks += len(names)

    def _is_final(self, request: Served) -> bool:
        said = request.kv_transfer_params or {}
        return self.finals == "all" or said.get(FINAL) is True


class _Running:
    """A request that runs, and how many of its blocks were placed."""

    def __init__(self, request: Served, placed: Request, blocks: int):
        self.request, self.placed, self.blocks = request, placed, blocks
