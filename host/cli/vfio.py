"""`kvfpga vfio`: the simulated device in a virtual machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import click

from ..contract.errors import UsageError
from . import output
from .app import App, note
from .signals import on_signal


@click.command()
@click.argument("path", metavar="SOCKET", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def vfio(app: App, path: Path) -> None:
    """Be a PCI device of a virtual machine, for the Linux driver in it.

    Makes SOCKET and waits there for one virtual machine, such as QEMU 10.1 or later:

    \b
    qemu-system-x86_64 … -machine memory-backend=ram \\
      -object memory-backend-memfd,id=ram,size=512M,share=on \\
      -device '{"driver": "vfio-user-pci",
        "socket": {"type": "unix", "path": "SOCKET"}}'

    Its guest finds PCI function 1de5:0a10: BAR0 has the registers, BAR2 the directory, MSI 0 is the interrupt. Guest memory
    is the device's at 2^40 + its physical address. The device begins with its reset values, and ends with the virtual machine
    or with Ctrl-C. What the driver makes it do is compared with the reference model; a difference ends it, with a failure
    folder. The session has afterwards what the guest has left: `kvfpga dump` shows it.
    """
    if app.target.kind != "sim":
        raise UsageError(f"vfio: --target {app.target.text} cannot be put into a virtual machine", "use --target sim")
    if app.trace or app.target.record:
        raise UsageError("vfio: --trace and --record are for commands of the command line", "leave them out")
    if app.target.log:
        raise UsageError("vfio: what a guest does are no calls that --verbose or --log could tell", "leave them out")

    def ready() -> None:
        app.present({"command": "vfio", "code": "OK", "at": str(path)}, lambda: output.echo(str(path)))

    stop, is_open = threading.Event(), threading.Event()
    with on_signal(stop.set, is_open.is_set):
        counts = (_followed if app.check else _alone)(app, path, ready, stop, is_open)
    app.present({"command": "vfio", "code": "OK", **counts}, lambda: output.print_pairs("guest", counts))


def _alone(app: App, path: Path, ready: Callable[[], None], stop: threading.Event, is_open: threading.Event) -> dict[str, int]:
    """Without a reference model, and so without a session to leave behind."""
    from ..linux import vfio as device
    from ..transport.sim.verilated import VerilatorSim

    with app.target.filled().open_simulation() as sim:
        assert isinstance(sim, VerilatorSim)
        is_open.set()
        return device.serve(path, sim, ready, stop)


def _followed(app: App, path: Path, ready: Callable[[], None], stop: threading.Event, is_open: threading.Event) -> dict[str, int]:
    """In lockstep; the session has afterwards what the guest has left."""
    from ..blackbox.simulation import SimulationBlackBox
    from ..linux import vfio as device
    from ..linux.following import Follower
    from ..lockstep.lockstep import Lockstep
    from ..session.open import open_session
    from ..session.purpose import Purpose
    from ..transport.sim.verilated import VerilatorSim

    with open_session(app.target, app.folder, note) as session:
        lockstep = session.open(True, Purpose.RESET)
        assert isinstance(lockstep, Lockstep) and isinstance(lockstep.recorder, SimulationBlackBox)
        assert isinstance(lockstep.device.mmio, VerilatorSim)
        is_open.set()
        follower = Follower(lockstep, lockstep.recorder)
        counts = device.serve(path, lockstep.device.mmio, ready, stop, follower)
        follower.finish()
        session.save()
        return {**counts, "commands": lockstep.commands, "checks": lockstep.checks, "differences": lockstep.differences}
