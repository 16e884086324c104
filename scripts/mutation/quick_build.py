"""Builds models of mutated designs, for scripts/mutation/mutate.py.

They run for seconds, so they are built as tests have it (KVFPGA_QUICK_BUILD of host/transport/sim/build.py). The BUILD_ID in the
hardware is 0 in all of them. Where `kvcpu_mutant_pkg` is among the sources, one model has many mutations in it, and the
environment says which counts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from kvfpga.contract.parameters import Parameters
from kvfpga.transport.sim import build as verilator_build
from kvfpga.transport.sim.build import Model

CHOICE = "kvcpu_mutant_pkg.sv"
"""The package that says which of many mutations counts."""


def model(parameters: Parameters, sources: list[Path], cache: Path) -> Model:
    """The model of `sources`, built into the folder `cache` unless it is there."""
    os.environ |= {"KVFPGA_CACHE": str(cache), "KVFPGA_QUICK_BUILD": "1"}
    verilator_build._Build = _MutantBuild
    return verilator_build.model(parameters, sources)


def generated(parameters: Parameters, sources: list[Path]) -> str:
    """A hash of the C++ that Verilator makes of `sources`: where it is the same, so is the device."""
    harness = verilator_build.CORE.harness_files()
    built = Model(Path(f"{verilator_build.TOP}.so"), "", 0, parameters, None)
    build = _MutantBuild(built, sources, harness, verilator_build.verilator.find()[0])
    with tempfile.TemporaryDirectory(prefix="kvfpga-generated-") as folder:
        build.folder = Path(folder)
        build.log = build.folder / "build.log"
        build._verilate()
        digest = hashlib.sha256()
        for path in sorted((build.folder / "out").glob("*.[ch]*")):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


class _MutantBuild(verilator_build._Build):
    def __init__(self, built: Model, sources: list[Path], harness: list[Path], verilator: Path):
        super().__init__(replace(built, build_id=0), sources, harness, verilator)
        if any(path.name == CHOICE for path in sources):
            self.harness.append(Path(__file__).with_name("mutant.cpp"))

    def _verilate(self) -> None:
        """From copies below its own folder: assertions name their file, and mutated sources are elsewhere every time."""
        copies = self.folder / "rtl"
        copies.mkdir()
        self.sources = [Path(shutil.copy(path, copies)).relative_to(self.folder) for path in self.sources]
        super()._verilate()
