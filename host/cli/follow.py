"""`kvfpga follow`: mirror the cache of a running vLLM server, or place its blocks by a policy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ..contract.errors import UsageError
from ..contract.wording import counted
from ..policy.programs import NAMES
from . import metrics, output
from .app import App, note, warn
from .signals import on_signal
from .values import Number

if TYPE_CHECKING:
    from ..integrations.vllm.mirror import Mirror
    from ..integrations.vllm.placing import Placement
    from ..integrations.vllm.requests import Requests
    from ..monitor.metrics import Reading


@click.command()
@click.argument("endpoint")
@click.option("--replay", metavar="ENDPOINT", help="The server's replay_endpoint. Without it, what is missed is lost.")
@click.option("--topic", default="", help="The engine's topic, all of it or as far as an @.  [default: the one there is]")
@click.option("--bind", is_flag=True, help="ENDPOINT is this machine's, and the server connects to it (tcp://*:5557).")
@click.option("--rank", type=Number(16), default=0, show_default=True, help="Data-parallel rank: raises both ports by so much.")
@click.option("--medium", default="GPU", show_default=True, help="Mirror the blocks in this medium (GPU, CPU, FS…).")
@click.option("--copies", type=click.Choice(["count", "ignore"]), default="count", show_default=True,
              help="Does a block that is stored again have a removal of its own?")  # fmt: skip
@click.option("--step-every", type=Number(32), default=0, metavar="N", help="STEP after every N batches.  [default: no steps]")
@click.option("--count", type=Number(32), metavar="N", help="Stop after N batches.")
@click.option("--patience", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="Stop when nothing was heard for so long.  [default: never]")  # fmt: skip
@click.option("--policy", type=click.Choice(NAMES), help="Place the blocks of the requests behind the events by this policy, "
              "instead of mirroring the cache.")  # fmt: skip
@click.option("--t1-capacity", type=Number(32), help="With --policy: blocks that fit into T1.  "
              "[default: 4096, or all of a smaller device]")  # fmt: skip
@click.option("--step-ms", type=float, help="With --policy: the publisher's milliseconds for each decode step.  [default: 100]")
@click.option("--report", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="With --policy: show its figures so often.  [default: at the end]")  # fmt: skip
@metrics.option
@click.pass_obj
def follow(
    app: App, endpoint: str, replay: str | None, topic: str, bind: bool, rank: int, medium: str, copies: str, step_every: int,
    count: int | None, patience: float | None, policy: str | None, t1_capacity: int | None, step_ms: float | None,
    report: float | None, metrics_at: str | None,
) -> None:  # fmt: skip
    """Mirror the prefix cache of a vLLM server, from the KV-cache events that it publishes, or see what a policy makes of them.

    \b
    vllm serve MODEL --kv-events-config '{"enable_kv_cache_events": true,
        "publisher": "zmq", "endpoint": "tcp://*:5557",
        "replay_endpoint": "tcp://*:5558"}'
    kvfpga follow tcp://HOST:5557 --replay tcp://HOST:5558
    kvfpga follow tcp://HOST:5557 --policy ranked --t1-capacity 1024 --report 10

    A stored block is loaded (or shared), a removed one evicted; when the cache is cleared, all are unloaded. Missed
    messages are replayed. Ctrl-C ends it: the mirrored directory is read back and compared, the session stored. What
    an earlier follow mirrored is unloaded at the start. One engine is followed; where several publish, it ends with 2.

    With --policy the requests behind the events touch and load their blocks, decode steps pass as the publisher's clock
    says, and the policy decides what T1 holds; `ranked` learns meanwhile. Hits in T1 are shown beside those of an LRU
    cache of that size.
    """
    from ..integrations.vllm.follow import Follower, SeveralEngines, rank_endpoint, require_endpoint
    from ..integrations.vllm.mirror import Mirror
    from ..integrations.vllm.placing import Placement
    from ..integrations.vllm.requests import Requests
    from ..monitor.desk import Desk

    metrics.check(metrics_at)
    _check_together(policy, {"--t1-capacity": t1_capacity, "--step-ms": step_ms, "--report": report},
                    {"--step-every": step_every, "--copies ignore": copies == "ignore"})  # fmt: skip
    app.live |= report is not None
    endpoint, replay = rank_endpoint(endpoint, rank), rank_endpoint(replay, rank) if replay else None
    require_endpoint(endpoint, bind)
    if replay:
        require_endpoint(replay)
    receiver: Mirror | Requests
    if policy is None:
        receiver = Mirror(app.device(), medium, copies == "count", step_every)
    else:
        receiver = Requests(Placement(app.device(), policy, t1_capacity, 100.0 if step_ms is None else step_ms), medium)
    shown = _Shown(app, receiver, report)
    desk = Desk(shown.read)
    with Follower(endpoint, receiver, replay, topic, say=note, bind=bind) as follower:
        exposed = metrics.exposed(metrics_at, desk.ask)
        with on_signal(follower.stopping.set), exposed, app.progress("following") as update:

            def progress() -> None:
                desk.answer()
                shown.report()
                c = follower.counts
                told = [shown.text(), counted(c.events, "event")]
                told += [counted(c.gaps, "gap")] if c.gaps else []
                told += [f"{c.lost} lost"] if c.lost else []
                update(c.batches, count, " · ".join(told))

            if not app.json:
                note(f"following {endpoint}; Ctrl-C ends it")
            try:
                follower.run(count, patience, progress)
            except SeveralEngines:
                app.finish()  # what came until then is on the device
                raise
    receiver.finish()
    receiver.verify()
    summary = follower.summary()
    app.present(
        {"command": "follow", "code": "OK", **summary, "checked": app.device().checked},
        lambda: output.print_pairs("followed", _for_people(summary)),
    )
    if isinstance(receiver, Mirror) and receiver.waiting:
        warn(f"{counted(len(receiver.waiting), 'block')} of the cache found no room in the directory")
    if receiver.counts.other_media:
        note(f"mirrored: medium {receiver.medium}; left alone: {', '.join(receiver.counts.other_media)}")
    if not follower.complete:
        warn("not complete: the mirror may miss blocks of the cache")


def _check_together(policy: str | None, with_it: dict[str, object], without_it: dict[str, object]) -> None:
    """UsageError for options that say nothing with or without --policy."""
    if policy is None and (given := [name for name, value in with_it.items() if value is not None]):
        raise UsageError(f"{given[0]} is for --policy", "give --policy, such as --policy ranked, or leave it out")
    if policy is not None and (given := [name for name, value in without_it.items() if value]):
        raise UsageError(f"{given[0]} is for a mirror, and --policy {policy} makes none", "leave one of both out")


class _Shown:
    """What is seen of a receiver while it follows."""

    def __init__(self, app: App, receiver: Mirror | Requests, every: float | None):
        self._app, self._receiver, self._every = app, receiver, every
        self._placement: Placement | None = getattr(receiver, "placement", None)
        self._next = time.monotonic() + (every or 0)
        self._intervals = 0

    def text(self) -> str:
        """For the progress line."""
        blocks = counted(self._receiver.held, "block")
        if self._placement is None:
            return blocks
        d = self._placement.decisions
        rates = f"hit {d.rate('hits'):.1%}, LRU {d.rate('lru_hits'):.1%}"
        return f"{blocks} · {counted(d.requests, 'request')} · {rates}"

    def read(self) -> Reading:
        """For a scrape."""
        from ..monitor.metrics import POLICY, reading

        found = reading(self._app.device())
        if self._placement is None:
            return found
        return found._replace(own=found.own | {name: getattr(self._placement.decisions, of) for name, of in POLICY.items()})

    def report(self) -> None:
        """The figures of an interval, where one is over."""
        if self._placement is None or self._every is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        self._intervals += 1
        figures = self._placement.interval()
        self._app.present(
            {"command": "follow", "interval": self._intervals, **figures}, lambda: output.echo(_line(self._intervals, figures))
        )


def _for_people(summary: dict[str, Any]) -> dict[str, Any]:
    """What there is to say; rates always."""
    rates = {name: f"{value:.2%}" for name, value in summary.items() if name.endswith("_rate")}
    return {name: rates.get(name, value) for name, value in summary.items() if value or name in rates}


def _line(number: int, figures: dict[str, Any]) -> str:
    ranks = "–".join(map(str, figures["ranks"] or ())) or "none"
    return (
        f"{number:4}  step {figures['step']:,}  {counted(figures['requests'], 'request')}  "
        f"{counted(figures['touches'], 'touch', 'touches')}  hit {figures['hit_rate']:.1%}  LRU {figures['lru_hit_rate']:.1%}  "
        f"evicted {figures['evictions']:,}  fetched {figures['prefetches']:,}  θ {figures['theta']:,}  pool {figures['pool']:,}  "
        f"ranks {ranks}  {counted(figures['tables'], 'table')}"
    )
