"""A stream in a file, for the processes that compute cells: reading a trace anew takes each of them much longer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .stream import Stream


def save(path: Path, stream: Stream) -> None:
    np.savez(path, allow_pickle=False, **stream._asdict())


def load(path: Path) -> Stream:
    with np.load(path) as found:
        arrays = {name: found[name] for name in Stream._fields}
    return Stream(**arrays | {"name": str(arrays["name"]), "block_tokens": int(arrays["block_tokens"])})
