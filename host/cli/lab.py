"""`kvfpga lab`: which cache policy pays, on which traffic, at which size. A module a command."""

from __future__ import annotations

import click

from .later import Later


class Lab(Later):
    places = {
        "run": "lab_run",
        "policies": "lab_lists",
        "traces": "lab_lists",
        "tune": "lab_tune",
        "prove": "lab_prove",
        "report": "lab_report",
    }
    """In the order that one needs them in."""


@click.group(cls=Lab)
def lab() -> None:
    """The policy lab: request traces, the policies that the field publishes, the device's own, and the proof on the device.

    \b
    kvfpga lab run sample --capacity 64,128      # a trace that comes along
    kvfpga lab run traffic.jsonl --out results   # yours; see results/report.html
    kvfpga lab prove sample --capacity 64        # on the device, touch by touch

    `kvfpga claims` measures what the design promises. The lab takes more libraries: pip install 'kvfpga[lab]'.
    """
