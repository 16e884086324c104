"""`--metrics HOST:PORT` of the commands that run for long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from ..contract.extras import require
from .app import note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..monitor.metrics import Reading

option = click.option("--metrics", "metrics_at", metavar="HOST:PORT",
                      help="Answer Prometheus there; takes pip install 'kvfpga[metrics]'.")  # fmt: skip


def check(address: str | None) -> None:
    """UsageError where --metrics cannot be done, before anything is opened."""
    if address is not None:
        require("--metrics", "metrics", "prometheus_client")
        from ..monitor.metrics import parse_address

        parse_address(address)


def exposed(address: str | None, read: Callable[[], Reading]) -> AbstractContextManager[Any]:
    """Answer scrapes meanwhile, where --metrics was given."""
    return _exposed(address, read) if address is not None else nullcontext()


@contextmanager
def _exposed(address: str, read: Callable[[], Reading]) -> Iterator[None]:
    from ..monitor.metrics import exposed

    with exposed(address, read) as url:
        note(f"metrics at {url}")
        yield
