"""A device's counters for Prometheus: `--metrics` of `kvfpga serve`, `kvfpga follow` and `kvfpga top`.

    kvfpga_evict_triggers_total     each counter of R23 by its name, with what its register is called as HELP
    kvfpga_theta                    what is no counter (look.STATES), as it is
    kvfpga_commands_total           of this process, where it runs commands; and the other rows of OWN
    kvfpga_up                       0 where the device could not be read; then there is nothing else

A scrape reads the telemetry once, as one batch, and nothing else of the device. Reading is no command: nothing is counted, and
nothing latched is left for others, because a batch is done as a whole. Who reads is up to the owner of the device: a function
that takes the lock under which everything else uses it, or a `Desk` where one thread has the device for itself (desk.py). A
scrape of `top` reads nothing: it is given what the last look found.

It takes the extra kvfpga[metrics], prometheus_client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..contract.errors import KvfpgaError, UsageError
from ..device.answers import ASK_TELEMETRY, telemetry_of
from ..device.device import Device
from ..device.regmap import REGISTERS
from ..lockstep.lockstep import Lockstep
from ..lockstep.reference import Reference
from ..transport.mmio import Batch
from .look import STATES, Snapshot

PREFIX = "kvfpga_"
TITLES = {register.telemetry: register.title for register in REGISTERS.values() if register.telemetry}
"""What each counter counts, as the register map says it."""
OWN = {
    "commands": (CounterMetricFamily, "Commands that this process has run"),
    "checks": (CounterMetricFamily, "Comparisons of device and reference"),
    "differences": (CounterMetricFamily, "Differences that they have found"),
    "t1_capacity": (GaugeMetricFamily, "Places of tier 1 (T1_CAPACITY)"),
    "entries": (GaugeMetricFamily, "Entries of the directory"),
    "policy_requests": (CounterMetricFamily, "Requests behind the events that are followed"),
    "policy_touches": (CounterMetricFamily, "Blocks that they touched"),
    "policy_hits": (CounterMetricFamily, "Those that the policy had in tier 1"),
    "policy_lru_hits": (CounterMetricFamily, "Those that an LRU cache of that size would have had"),
    "policy_tables": (CounterMetricFamily, "Tables that the learner has put in force"),
}
"""What is known besides telemetry without asking the device: how it is exposed, and its HELP."""

POLICY = {name: name.removeprefix("policy_") for name in OWN if name.startswith("policy_")}
"""Of `kvfpga follow --policy` alone, and what each is called there (integrations/vllm/placing.py)."""


class Reading(NamedTuple):
    """`telemetry`: by the names of R23. `own`: some of OWN."""

    telemetry: dict[str, int]
    own: dict[str, int]


def reading(device: Lockstep | Reference) -> Reading:
    """One batch. The settings are the reference's, which follows them."""
    own = {name: getattr(device, name) for name in ("commands", "checks", "differences", "entries")}
    return Reading(device.telemetry(), own | {"t1_capacity": device.model.settings()["T1_CAPACITY"]})


def shared(device: Device) -> Reading:
    """One batch, of a device that others run commands on, with references of their own: how many commands and differences there
    were, they know."""
    batch = Batch()
    batch.join(ASK_TELEMETRY)
    capacity = batch.read(REGISTERS["T1_CAPACITY"].offset)
    words = device.mmio.run(batch).words
    own = {"entries": device.entries, "t1_capacity": int(words[capacity])}
    return Reading(telemetry_of(words[None, :capacity])[0], own)


def looked(snapshot: Snapshot) -> Reading:
    """What a look has found."""
    return Reading(snapshot.telemetry, {"entries": snapshot.entries, "t1_capacity": snapshot.settings["T1_CAPACITY"]})


class DeviceMetrics(Collector):
    """What `read` returns, as metrics, anew at each scrape."""

    def __init__(self, read: Callable[[], Reading]):
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Nothing is read to be registered."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        up = "Could the device be read?"
        try:
            found = self._read()
        except KvfpgaError:  # whoever owns the device says why
            yield GaugeMetricFamily(f"{PREFIX}up", up, 0)
            return
        yield GaugeMetricFamily(f"{PREFIX}up", up, 1)
        for name, value in found.telemetry.items():
            kind = GaugeMetricFamily if name in STATES else CounterMetricFamily
            yield kind(PREFIX + name, TITLES[name], value)
        for name, value in found.own.items():
            own_kind, title = OWN[name]
            yield own_kind(PREFIX + name, title, value)


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT, [IPv6]:PORT, or :PORT on all addresses. UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise UsageError(f"--metrics {text}: not HOST:PORT", "such as 127.0.0.1:9464, or :9464 for every address of this machine")
    return host.strip("[]") or "::", int(port)


@contextmanager
def exposed(address: str, read: Callable[[], Reading]) -> Iterator[str]:
    """Answer scrapes at `address` meanwhile; yields the URL (port 0 is one that was free). UsageError where it is taken."""
    host, port = parse_address(address)
    registry = CollectorRegistry()
    registry.register(DeviceMetrics(read))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        remedy = "choose another HOST:PORT; port 0 is one that is free"
        raise UsageError(f"--metrics {address}: {error.strerror or error}", remedy) from error
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
