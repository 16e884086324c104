"""Every file that a text of the project names is there, and a name without its folder means one file only.

    host/cli/app.py   from the root of the checkout on; a * stands for anything
    app.py            a Python file or RTL module, with as many of its folders as it takes: the one beside the text that names
                      it, or else the only one of that name

Pages and the code of other languages are read whole; of Python the comments and docstrings, for code may name what it makes.
Pages of docs/ are looked up by test_citations.py.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import PurePosixPath

import pytest

from tests.helpers.places import ROOT
from tests.helpers.tracked import tracked

FROM_ROOT = re.compile(r"(?<![\w/.:-])(?:host|fpga|tests|scripts)/[\w./*-]*\.\w+")
BARE = re.compile(r"(?<![\w/.*:-])(?:\w+/)*\w+\.(?:py|sv)\b")
ELSEWHERE = re.compile(r"(?:vllm|examples|python/sglang)/")
"""Folders of vLLM's and SGLang's repositories, which docs/vllm.md cites."""
SKIPPED = ("docs/registers.html", "tests/project/test_named_files.py")
"""Generated, and this file, with wrong names for the checker."""


def words(path: str, text: str) -> str:
    """The part of a file that is written for people."""
    if not path.endswith(".py"):
        return text
    comments = (t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT)
    docstrings = (
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )
    return "\n".join([*comments, *docstrings])


def wrong_names(path: str, text: str, files: Iterable[str]) -> list[str]:
    """What the text of the file `path` names and `files` do not have, or have more than once."""
    if not (FROM_ROOT.search(text) or BARE.search(text)):  # taking Python apart takes long, and most of it names no file
        return []
    said = words(path, text)
    wrong = [name for name in FROM_ROOT.findall(said) if not any(fnmatch(file, name) for file in files)]
    for name in BARE.findall(said):
        found = [file for file in files if file == name or file.endswith(f"/{name}")]
        beside = str(PurePosixPath(path).parent / name)
        if beside in files or len(found) == 1 or ELSEWHERE.match(name) or name in wrong:
            continue
        wrong.append(f"{name}: {' or '.join(found)}" if found else name)
    return wrong


def test_every_file_that_a_text_names_is_there():
    files, found = tracked(), {}
    for path in files:
        try:
            text = (ROOT / path).read_text("utf-8")
        except UnicodeDecodeError:
            continue
        if path not in SKIPPED and (wrong := wrong_names(path, text, files)):
            found[path] = wrong
    assert found == {}


# ---- the checker -------------------------------------------------------------------------------------------------------
FILES = ["README.md", "host/a/board.py", "host/b/board.py", "host/b/only.py", "fpga/rtl/kvcpu.sv", "scripts/soak/x.py"]


@pytest.mark.parametrize("text", [
    "host/b/only.py", "only.py (b/only.py)", "a/board.py and b/board.py", "fpga/rtl/kvcpu.sv", "kvcpu.sv", "scripts/soak/*.py",
    "vllm/v1/core/block_pool.py", "https://example.org/host/gone.py", "a module.python", "NAME.yaml",
])  # fmt: skip
def test_the_checker_takes(text):
    assert wrong_names("a/page.md", text, FILES) == []


@pytest.mark.parametrize(("text", "found"), [
    ("host/gone.py", ["host/gone.py"]), ("(gone.py)", ["gone.py"]), ("c/board.py", ["c/board.py"]),
    ("host/c/*.py", ["host/c/*.py"]), ("board.py", ["board.py: host/a/board.py or host/b/board.py"]),
    ("fpga/sim/gone.h", ["fpga/sim/gone.h"]),
])  # fmt: skip
def test_the_checker_refuses(text, found):
    assert wrong_names("a/page.md", text, FILES) == found


def test_a_name_means_the_file_beside_it_first():
    assert wrong_names("host/a/x.sv", "board.py", FILES) == []


def test_of_python_only_what_is_for_people_is_read():
    code = 'write("gone.py")  # as comment.py\ndef f():\n    """docstring.py"""\n    x: int = 1\n    """attribute.py"""\n'
    assert wrong_names("host/x.py", code, FILES) == ["comment.py", "docstring.py", "attribute.py"]
