"""Run the notebooks of docs/notebooks, and say which show what they no longer print.

    python -m scripts.notebooks            run each; exit code 1 where an output differs
    python -m scripts.notebooks --write    put the new outputs into the files

Outputs are kept, so that a notebook can be read where it is not run: on the site and by whoever looks into the repository.
Pictures are not compared, since no two versions of matplotlib draw the same; that there is one is. The simulated device is the
one of `kvfpga.open("sim", entries=256)`, whose model is built the first time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kvfpga.contract import extras

try:
    import nbformat
    from jupyter_client import AsyncKernelManager
    from jupyter_core.utils import run_sync
    from nbclient import NotebookClient
    from nbformat import NotebookNode
except ModuleNotFoundError as missing:
    raise extras.lacking("notebooks", "test", missing) from None

from scripts.interrupt import interruptible

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
PICTURE = "image/png"


def executed(notebook: NotebookNode) -> NotebookNode:
    """A copy with the outputs of today; CellExecutionError where a cell fails. A kernel writes nothing into anybody's home."""
    copy = nbformat.from_dict(notebook)
    with tempfile.TemporaryDirectory() as folder:
        places = {name: folder for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
        with patch.dict(os.environ, places):
            kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")  # no port is opened
            try:
                NotebookClient(copy, km=kernel, timeout=None, record_timing=False).execute(cwd=folder)
            finally:
                run_sync(kernel.shutdown_kernel)(now=True)  # the client ends only kernels of its own
    del copy.metadata["language_info"]  # the version of Python that ran it
    return copy


def shown(cell: NotebookNode) -> list[dict[str, Any]]:
    """What a cell's outputs say; of a picture, that it is one."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {"text": output.get("text")})
        found.append({"picture": True} if PICTURE in data else dict(data))
    return found


def stale(before: NotebookNode, now: NotebookNode) -> list[str]:
    """Of each cell that shows something else now: both."""
    return [
        f"cell {number} shows {shown(old)}, prints {shown(new)}"
        for number, (old, new) in enumerate(zip(before.cells, now.cells, strict=True))
        if shown(old) != shown(new)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the notebooks of docs/notebooks, and compare their outputs.")
    parser.add_argument("--write", action="store_true", help="put the new outputs into the files")
    write = parser.parse_args().write
    differ = False
    for path in sorted(FOLDER.glob("*.ipynb")):
        before = nbformat.read(path, as_version=4)
        now = executed(before)
        if write:
            nbformat.write(now, path)
            continue
        found = stale(before, now)
        differ |= bool(found)
        for line in found or ["shows what it prints"]:
            print(f"{path.name}: {line}", file=sys.stderr if found else sys.stdout)
    if differ:
        print("python -m scripts.notebooks --write puts the new outputs into the files", file=sys.stderr)
    return int(differ)


if __name__ == "__main__":
    sys.exit(interruptible(main))
