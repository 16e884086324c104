"""The session of a target, of the kind that fits it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..targets.target import Target
from .session import Session


def open_session(target: Target, folder: Path | None = None, say: Callable[[str], None] = lambda text: None) -> Session:
    """The session of `target`, of the kind that fits it; to be entered."""
    if not target.is_board:
        return Session(target, folder, say)
    from .board import BoardSession

    return BoardSession(target, folder, say)
