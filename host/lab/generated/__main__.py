"""Writes a generated trace, as `kvfpga replay` and `kvfpga lab run` read it: a request a line, in Mooncake's form."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import NoReturn

import click

from . import NAMES, trace


@click.command(help="Writes the generated trace NAME to standard output, a request a line.")
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
@click.option("--requests", type=click.IntRange(1), default=10_000, show_default=True, metavar="N", help="How many it has.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Another seed gives another trace of the kind.")
def main(name: str, requests: int, seed: int) -> None:
    try:
        write(name, requests, seed)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has enough
        ended(0)
    except OSError as error:
        ended(os.EX_IOERR, f"stdout takes no more: {error.strerror}")
    except KeyboardInterrupt:
        ended(128 + signal.SIGINT, "interrupted")


def write(name: str, requests: int, seed: int) -> None:
    for request in trace(name, requests, seed).requests:
        row = {
            "timestamp": int(request.timestamp_ms),
            "input_length": request.input_length,
            "output_length": request.output_length,
            "hash_ranges": [list(run) for run in request.runs],
        }
        print(json.dumps(row))


def ended(code: int, why: str = "") -> NoReturn:
    """With the exit codes of `kvfpga`. What was printed and is not written yet goes nowhere: it would fail once more."""
    if why:
        print(f"{__package__}: {why}", file=sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


main()
