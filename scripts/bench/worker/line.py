"""The line between the bench and a process that works for it: one JSON value a line, over a Unix socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any


class Line:
    def __init__(self, end: socket.socket):
        self._socket, self._stream = end, end.makefile(encoding="utf-8")

    def send(self, value: Any) -> None:
        self._socket.sendall(json.dumps(value).encode() + b"\n")

    def __iter__(self) -> Iterator[Any]:
        """What comes, until the other end goes."""
        for text in self._stream:
            yield json.loads(text)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


def connect(path: str) -> Line:
    """The worker's end."""
    end = socket.socket(socket.AF_UNIX)
    end.connect(path)
    return Line(end)
