"""The notebooks of docs/notebooks: run whole, by scripts/notebooks.py, they print what they show."""

from __future__ import annotations

import os

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from scripts import notebooks

PATHS = sorted(notebooks.FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_prints(path):
    before = nbformat.read(path, as_version=4)
    now = notebooks.executed(before)
    assert notebooks.stale(before, now) == []
    assert any(output == {"picture": True} for cell in now.cells for output in notebooks.shown(cell))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_stays_small_and_says_nothing_of_who_ran_it(path):
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size < 100_000
    assert set(notebook.metadata) == {"kernelspec"} and not any(cell.metadata for cell in notebook.cells)


def test_a_cell_that_prints_something_else_is_named():
    cells = [new_code_cell("print(6 * 7)"), new_code_cell("1 / 4")]
    right = notebooks.executed(new_notebook(cells=cells))
    assert notebooks.shown(right.cells[0]) == [{"text": "42\n"}]
    assert notebooks.stale(right, right) == []
    wrong = nbformat.from_dict(right)
    wrong.cells[1].outputs[0].data["text/plain"] = "0.5"
    assert notebooks.stale(wrong, right) == ["cell 1 shows [{'text/plain': '0.5'}], prints [{'text/plain': '0.25'}]"]


def test_no_kernel_is_left():
    ran = notebooks.executed(new_notebook(cells=[new_code_cell("import os; print(os.getpid())")]))
    with pytest.raises(ProcessLookupError):
        os.kill(int(notebooks.shown(ran.cells[0])[0]["text"]), 0)
