"""Verilator's own code, which all models have in common and which takes a third of a build: as it was compiled for others, in a
cache that a test begins empty."""

from __future__ import annotations

import shutil
from pathlib import Path

from kvfpga.transport.sim.build import cache_folder


def bring(cache: Path) -> None:
    """What the cache of this run has of it by now, to an empty one, where it is only taken if it is whole and fits."""
    models = cache / "models"
    models.mkdir(mode=0o700, parents=True)
    for folder in (cache_folder() / "models").glob("runtime-*"):
        shutil.copytree(folder, models / folder.name)
