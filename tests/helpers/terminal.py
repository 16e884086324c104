"""A program on a terminal of its own: what a person types, and what they see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios

from tests.helpers.waiting import until

CONTROLS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[=>]|\r")
"""What moves the cursor and sets colours."""


class Terminal:
    """Runs `command` (the program's path first) with a terminal as its stdin, stdout and stderr, in a session of its own, so that
    Ctrl-C reaches it. `columns`: 0 where the terminal does not say.

    `seen`: what it has shown and nobody has waited for yet; `raw`: everything, with what moves the cursor."""

    def __init__(self, *command: str, columns: int = 0, **environment: str):
        self.process, self._fd = pty.fork()
        if not self.process:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            os.environ.pop("COLUMNS", None)
            os.execve(command[0], command, os.environ | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"} | environment)
        self.seen = self.raw = ""
        self._code: int | None = None

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._fd, text.encode())

    def until(self, text: str) -> str:
        """Wait for a text; everything that was shown since the last that was waited for, up to it."""

        def came() -> bool:
            assert text in self.seen or self._read(1.0), f"the program ended without {text!r}; shown was {self.seen!r}"
            return text in self.seen

        try:
            until(came)
        except TimeoutError:
            raise TimeoutError(f"{text!r} never came; shown was {self.seen!r}") from None
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        while self._read(1.0):
            pass
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return self._code

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        self.ended()

    def _read(self, seconds: float) -> bool:
        """Take what there is; False once nothing can come any more."""
        if select.select([self._fd], [], [], seconds)[0]:
            try:
                found = os.read(self._fd, 1 << 16)
            except OSError:  # Linux says so where the other side is closed
                return False
            if not found:
                return False
            self.raw += found.decode(errors="replace")
            self.seen = CONTROLS.sub("", self.seen + found.decode(errors="replace"))
        return True

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            os.kill(self.process, signal.SIGKILL)
            self.ended()
        os.close(self._fd)
