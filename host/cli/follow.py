"""`kvfpga follow`: mirror the cache of a running vLLM server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..contract.wording import counted
from . import metrics, output
from .app import App, note, warn
from .signals import on_signal
from .values import Number

if TYPE_CHECKING:
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
@metrics.option
@click.pass_obj
def follow(
    app: App, endpoint: str, replay: str | None, topic: str, bind: bool, rank: int, medium: str, copies: str, step_every: int,
    count: int | None, patience: float | None, metrics_at: str | None,
) -> None:  # fmt: skip
    """Mirror the prefix cache of a vLLM server, from the KV-cache events that it publishes.

    \b
    vllm serve MODEL --kv-events-config '{"enable_kv_cache_events": true, "publisher": "zmq",
        "endpoint": "tcp://*:5557", "replay_endpoint": "tcp://*:5558"}'
    kvfpga follow tcp://HOST:5557 --replay tcp://HOST:5558

    A stored block is loaded (or shared), a removed one evicted; when the cache is cleared, all are unloaded. Missed
    messages are replayed. Ctrl-C ends it: the mirrored directory is read back and compared, the session stored. What
    an earlier follow mirrored is unloaded at the start. One engine is followed; where several publish, it ends with 2.
    """
    from ..integrations.vllm.follow import Follower, SeveralEngines, rank_endpoint
    from ..integrations.vllm.mirror import Mirror
    from ..monitor.desk import Desk

    metrics.check(metrics_at)

    def read() -> Reading:
        from ..monitor.metrics import reading

        return reading(app.device())

    desk = Desk(read)
    endpoint, replay = rank_endpoint(endpoint, rank), rank_endpoint(replay, rank) if replay else None
    mirror = Mirror(app.device(), medium, copies == "count", step_every)
    with Follower(endpoint, mirror, replay, topic, say=note, bind=bind) as follower:
        exposed = metrics.exposed(metrics_at, desk.ask)
        with on_signal(follower.stopping.set), exposed, app.progress("following") as update:

            def progress() -> None:
                desk.answer()
                c = follower.counts
                blocks, events, gaps = counted(len(mirror.blocks), "block"), counted(c.events, "event"), counted(c.gaps, "gap")
                update(c.batches, count, f"{blocks} · {events} · {gaps} · {c.lost} lost")

            if not app.json:
                note(f"following {endpoint}; Ctrl-C ends it")
            try:
                follower.run(count, patience, progress)
            except SeveralEngines:
                app.finish()  # what was mirrored until then is on the device
                raise
    mirror.verify()
    summary = follower.summary()
    app.present(
        {"command": "follow", "code": "OK", **summary, "checked": app.device().checked},
        lambda: output.print_pairs("followed", {name: value for name, value in summary.items() if value}),
    )
    if mirror.waiting:
        warn(f"{counted(len(mirror.waiting), 'block')} of the cache found no room in the directory")
    if mirror.counts.other_media:
        note(f"mirrored: medium {mirror.medium}; left alone: {', '.join(mirror.counts.other_media)}")
    if not follower.complete:
        warn("not complete: the mirror may miss blocks of the cache")
