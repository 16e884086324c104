"""The tutorials, and examples of the command line's page: what they say is typed, in order, in an empty folder, and prints what
they say.

A page is one shell; the first command that fails ends it. A block `text` has lines of what the blocks before it print.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers import pages
from tests.helpers.places import DOCS

TUTORIALS = sorted(path for path in (DOCS / "tutorials").glob("*.md") if path.name != "README.md")
NEEDS = {"a board", "a kernel's headers", "a network", "a trace of yours", "a vLLM server"}
"""What keeps a block from being run. Whatever else it is, a test can have it."""


def run(blocks: list[str], folder: Path, **environment: str) -> str:
    """The output of a page's blocks. Nothing that it has started outlives it."""
    plain = {name: value for name, value in os.environ.items() if name not in ("KVFPGA_SESSION", "PYTHONPATH")}
    plain |= {"PATH": f"{Path(sys.executable).parent}:{plain['PATH']}", "XDG_STATE_HOME": str(folder)} | environment
    script = "set -euo pipefail\n" + "".join(blocks)
    with open(folder.with_suffix(".out"), "w+") as out, open(folder.with_suffix(".err"), "w+") as err:
        shell = subprocess.Popen(["bash", "-c", script], cwd=folder, env=plain, stdout=out, stderr=err, start_new_session=True)
        try:
            code = shell.wait(timeout=1800)  # only for what hangs
        finally:
            if shell.poll() is None or code:
                with suppress(ProcessLookupError):  # it has left nothing behind
                    os.killpg(shell.pid, signal.SIGTERM)
        for file in (out, err):
            file.seek(0)
        said, complaints = out.read(), err.read()
    assert code == 0, said + complaints
    return said


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    said = run(pages.code(page, "sh"), folder)
    assert pages.missing("".join(pages.code(page, "text")), said) == [], said


def test_the_examples_of_the_command_line_s_page_follow_one_another(tmp_path):
    """Those that need nothing but a device, here the model alone."""
    examples = [block for block in pages.code(DOCS / "cli.md", "sh") if "board serve" not in block]
    said = run(examples, tmp_path, KVFPGA_TARGET="model", KVFPGA_SESSION=str(tmp_path / "session"))
    assert len(examples) == 2 and "score: OK · block 1 in T1" in said and "11.313" in said  # 128 / sqrt(128)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_all_that_it_can(page):
    found = [block for block in pages.blocks(page) if block.language == "sh"]
    assert {block.needs for block in found if block.needs} <= NEEDS
    assert sum(not block.needs for block in found) >= 2


# ---- the checker -------------------------------------------------------------------------------------------------------
def test_the_checker_reads_blocks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\none\n```\n```text\nsaid\n```\n<!-- not run: needs a network -->\n```sh\ntwo\n```\n")
    assert pages.blocks(page) == [("", "sh", "one\n"), ("", "text", "said\n"), ("a network", "sh", "two\n")]
    assert pages.code(page, "sh") == ["one\n"]


@pytest.mark.parametrize(("expected", "found"), [
    ("a\nb", []), ("b", []), ("a … 3\nb", []), ("b\na", ["a"]), ("a … 4", ["a … 4"]), ("a\na", ["a"]), ("x", ["x"]),
])  # fmt: skip
def test_the_checker_compares_output(expected, found):
    assert pages.missing(expected, "a 1 2 3\n  b …\n") == found
