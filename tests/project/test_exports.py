"""What `import kvfpga` gives: every exported name is there, documented, and the same for type checkers and at run time."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kvfpga
from tests.helpers.places import DOCS

PACKAGE = Path(kvfpga.__file__).parent
GUIDE = DOCS / "python.md"


@pytest.mark.parametrize("name", kvfpga.__all__)
def test_every_exported_name_is_there(name):
    assert getattr(kvfpga, name) is not None
    assert name in dir(kvfpga)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'kvfpga' has no attribute 'Nonsense'"):
        _ = kvfpga.Nonsense


def test_type_checkers_see_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    typed = {}
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            for line in block.body:
                assert isinstance(line, ast.ImportFrom)
                typed |= {alias.asname: line.module for alias in line.names}
    assert typed == {name: module for module, names in kvfpga._HOMES.items() for name in names}


def test_commands_and_errors_are_exported_whole():
    from kvfpga.contract import commands, errors

    exceptions = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert exceptions <= set(kvfpga.__all__)
    assert {kind.__name__ for kind in commands.KINDS} <= set(kvfpga.__all__)


def test_the_guide_names_every_export_once_in_its_table():
    table = GUIDE.read_text().partition("## All names")[2]
    named = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `")))
    listed = set(re.findall(r"`(\w+)`", table)) & set(kvfpga.__all__)
    assert listed == set(kvfpga.__all__)
    assert len(named) == len(set(named))


def test_importing_kvfpga_imports_no_numpy():
    """Names are imported when they are used: a start costs only what it needs."""
    code = "import sys, kvfpga; print([m for m in ('numpy', 'click', 'kvfpga.hepc_ref', 'dataclasses') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists()
