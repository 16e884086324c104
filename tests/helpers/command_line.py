"""`kvfpga` run in this process on a session of its own, and its output taken apart."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from kvfpga.cli.main import cli

BLOCK = 16384
LOAD = ["load", "--request", "1", "--layer", "2", "--head", "3", "--tokens", "0:31", "--va", "0x7f000000"]


def run(tmp_path: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `kvfpga` on a session below `tmp_path`."""
    found = CliRunner().invoke(cli, ["--target", "model", "--entries", "256", "--session", str(tmp_path / "s"), *words])
    return found.exit_code, found.stdout, found.stderr


class Kvfpga:
    """`kvfpga` on one session. Calling it gives the JSON objects, `text` what people see."""

    def __init__(self, folder: Path, *options: str):
        self.options = ["--target", "model", "--entries", "256", "--session", str(folder), *options]

    def run(self, *words, json=True):
        words = [str(word) for word in words]
        self.last = CliRunner().invoke(cli, [*self.options, *(["--json"] if json else []), *words], prog_name="kvfpga")
        if self.last.exception and not isinstance(self.last.exception, SystemExit):
            raise self.last.exception
        self.code, self.err = self.last.exit_code, self.last.stderr
        return self.last.stdout

    def __call__(self, *words, code=0):
        out = self.run(*words)
        assert self.code == code, self.last.output
        found = [json.loads(line) for line in out.splitlines()]
        return found[0] if len(found) == 1 else found

    def text(self, *words, code=0):
        out = self.run(*words, json=False)
        assert self.code == code, self.last.output
        return out
