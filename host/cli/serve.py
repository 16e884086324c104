"""`kvfpga serve` and `kvfpga keys`: a device for other programs, and who may use it from afar."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..contract.errors import KvfpgaError, UsageError
from . import metrics, output
from .app import App, note, warn
from .later import Group
from .signals import on_signal
from .values import Number

if TYPE_CHECKING:
    from ..monitor.metrics import Reading
    from ..transport.remote.keys import Keys


@click.command()
@click.option("--uapi", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH",
              help="A node that answers the ioctls of the Linux driver; /dev/kvcpu0 is the usual PATH.")  # fmt: skip
@click.option("--sysfs", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="With --uapi: the driver's attributes as files in DIR, which must not be there yet.")  # fmt: skip
@click.option("--auto-load", is_flag=True, help="With --uapi: a hint loads blocks where none covers its range.")
@click.option("--compat", is_flag=True,
              help="With --uapi: what only the kernel module accepts succeeds, does nothing, and is counted.")  # fmt: skip
@click.option("--listen", metavar="ADDRESS", help="Share the device at unix:PATH or tcp://HOST:PORT, for --target there.")
@click.option("--shared", is_flag=True, help="With --listen: several clients at once, instead of one after the other.")
@click.option("--memory", type=Number(32), metavar="MIB",
              help="With --listen: what a simulation's memory may grow to.  [default: half of the machine's]")  # fmt: skip
@metrics.option
@click.pass_obj
def serve(
    app: App, uapi: Path | None, sysfs: Path | None, auto_load: bool, compat: bool, listen: str | None, shared: bool,
    memory: int | None, metrics_at: str | None,
) -> None:
    """Let other programs use the device, until Ctrl-C or SIGTERM.

    With --uapi, existing tools find a file that behaves as the device file of the Linux driver. Every ioctl runs as a command on
    the session's device, in lockstep with the reference model.

    With --listen, another kvfpga uses the device as its target, with a reference and a session of its own. A simulation begins
    with its reset values and ends with the server. Over TCP both sides need keys (`kvfpga keys`); a UNIX socket is
    for its owner.

    With --metrics, the device's counters are there for Prometheus at http://HOST:PORT/metrics; a scrape is one batch.
    """
    if bool(uapi) == bool(listen):
        raise UsageError("serve: nothing to serve, or two things", "give either --uapi PATH or --listen ADDRESS")
    if (sysfs or auto_load or compat) and not uapi:
        raise UsageError("--sysfs, --auto-load and --compat go with --uapi", "add --uapi PATH")
    if (shared or memory is not None) and not listen:
        raise UsageError("--shared and --memory go with --listen", "add --listen ADDRESS")
    metrics.check(metrics_at)
    logging.basicConfig(stream=sys.stderr, format="kvfpga: %(message)s", level=logging.INFO)
    stop, is_open = threading.Event(), threading.Event()
    with on_signal(stop.set, is_open.is_set):
        if uapi:
            _serve_node(app, uapi, sysfs, auto_load, compat, stop, is_open, metrics_at)
        elif listen:
            _serve_remote(app, listen, shared, memory, stop, is_open, metrics_at)


def _serve_node(
    app: App, path: Path, sysfs: Path | None, auto_load: bool, compat: bool, stop: threading.Event, is_open: threading.Event,
    metrics_at: str | None,
) -> None:
    from ..linux import node as kvcpu0
    from ..session.serving import Served

    def store() -> None:
        told = None
        while not stop.wait(1.0):
            try:
                served.save_in_time()
            except KvfpgaError as error:  # a full disk: there may be room again before the end
                if error.message != told:
                    told = error.message
                    warn(told)

    def read() -> Reading:
        from ..monitor.metrics import reading

        with served.lock:
            if served.failed:
                raise served.failed
            with served.guarded():
                return reading(served.device)

    with Served(app.target, app.folder, app.check, note, on_failure=stop.set) as served, metrics.exposed(metrics_at, read):
        is_open.set()
        storing = threading.Thread(target=store, daemon=True)
        storing.start()
        try:
            device = kvcpu0.Kvcpu0(served, auto_load, note, compat)
            kvcpu0.serve(path, device, sysfs, lambda: _ready(app, str(path)), stop)
        finally:
            stop.set()
            storing.join()
        if compat:
            _tell_tolerated(app, device.tolerated)
        if served.failed:
            raise served.failed


def _tell_tolerated(app: App, counts: dict[str, int]) -> None:
    met = ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none"
    app.present(
        {"command": "serve", "code": "OK", "tolerated": counts},
        lambda: note(f"refused by the device, a success for the program: {met}"),
    )


def _serve_remote(
    app: App, address: str, shared: bool, memory: int | None, stop: threading.Event, is_open: threading.Event,
    metrics_at: str | None,
) -> None:
    from ..device.device import Device
    from ..transport.remote import protocol
    from ..transport.remote import server as remote_server

    # before a model is built for nothing
    endpoint = None if protocol.socket_path(address) else protocol.tcp_endpoint(address, listen=True)
    if app.target.kind == "model":
        raise UsageError("--listen: the reference model has no registers to share", "use --target sim, or a board")

    def read() -> Reading:
        from ..monitor.metrics import shared

        with lock:
            return shared(device)

    lock, target = threading.Lock(), app.target.filled()
    with target.telling(target.open_mmio()) as mmio:
        device = Device(mmio)
        is_open.set()
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if memory is None else memory << 20
        with metrics.exposed(metrics_at, read):
            remote_server.serve(
                address, mmio, lock, ready=lambda at: _ready(app, at), stop=stop, shared=shared, memory=most, endpoint=endpoint
            )


def _ready(app: App, where: str) -> None:
    app.present({"command": "serve", "code": "OK", "at": where}, lambda: output.echo(where))


@click.group(cls=Group)
def keys() -> None:
    """Keys for devices over TCP: who you are, whom you let in, whom you believe.

    \b
    kvfpga keys create                     # both sides, once: your public key
    kvfpga keys authorize KEY NAME         # the server: who may come in
    kvfpga keys trust tcp://HOST:PORT KEY  # the client: whom to believe
    """


@keys.command()
@click.pass_obj
def create(app: App) -> None:
    """Make your key pair. The secret half stays in a file that only you can read."""
    from ..transport.remote import keys as remote_keys

    _show_key(app, remote_keys.create())


@keys.command("show")
@click.pass_obj
def show_key(app: App) -> None:
    """Your public key, for the other side, and whom you let in."""
    from ..transport.remote import keys as remote_keys

    _show_key(app, remote_keys.load())


@keys.command()
@click.argument("key")
@click.argument("name")
@click.pass_obj
def authorize(app: App, key: str, name: str) -> None:
    """Let the owner of KEY in, as NAME."""
    from ..transport.remote import keys as remote_keys

    remote_keys.authorize(key, name)
    app.present({"command": "keys", "code": "OK", "authorized": name}, lambda: output.echo(f"{name} may come in"))


@keys.command()
@click.argument("address", metavar="tcp://HOST:PORT")
@click.argument("key")
@click.pass_obj
def trust(app: App, address: str, key: str) -> None:
    """Believe that the server at this address has KEY."""
    from ..transport.remote import keys as remote_keys

    remote_keys.trust(address, key)
    app.present({"command": "keys", "code": "OK", "server": address}, lambda: output.echo(f"{address} is believed"))


def _show_key(app: App, found: Keys) -> None:
    named = {public.hex(): name for public, name in found.authorized().items()}
    shown = {"public key": found.public.hex(), "folder": str(found.folder)} | {f"lets in {n}": k for k, n in named.items()}
    app.present(
        {"command": "keys", "code": "OK", "public": found.public.hex(), "folder": str(found.folder), "authorized": named},
        lambda: output.print_pairs("keys", shown),
    )
