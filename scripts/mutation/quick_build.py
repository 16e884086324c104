"""Builds models of mutated designs, for scripts/mutation/mutate.py.

They run for seconds, so it is the build that must be fast, and there are two ways. For many models that differ in one module
each, modules are not inlined into each other, each is compiled by itself, and objects are kept. A design with another
`kvcpu_score_lanes` compiles that module again, and links: the BUILD_ID in the hardware is 0 in all of them. The first such model
takes three times as long, so tests, which set KVFPGA_QUICK_BUILD, build their few as they build all models. So is a design with
`kvcpu_mutant_pkg` among its sources: it has many mutations in it, and the environment says which counts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from kvfpga.contract.parameters import Parameters
from kvfpga.transport.sim import build as verilator_build
from kvfpga.transport.sim.build import Model

OPTIMISE = "-Og"
CHOICE = "kvcpu_mutant_pkg.sv"
"""The package that says which of many mutations counts."""


def model(parameters: Parameters, sources: list[Path], cache: Path, objects: Path) -> Model:
    """The model of `sources`, built into the folder `cache` unless it is there. Objects are kept in the folder `objects`."""
    os.environ["KVFPGA_CACHE"] = str(cache)
    verilator_build._Build = _MutantBuild
    if os.environ.get("KVFPGA_QUICK_BUILD") != "1" and not any(path.name == CHOICE for path in sources):
        objects.mkdir(parents=True, exist_ok=True)
        # These are part of a model's key, so that none of these models is ever taken for another.
        verilator_build._VERILATE = [*verilator_build._VERILATE, "-fno-inline"]
        verilator_build.effort = lambda: verilator_build.Effort(OPTIMISE, OPTIMISE, 0)
        verilator_build._Build = _ApartBuild
        _ApartBuild.objects = objects
    os.environ["KVFPGA_QUICK_BUILD"] = "1"
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
        return _hash(*(path.read_bytes() for path in sorted((build.folder / "out").glob("*.[ch]*"))))


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


class _ApartBuild(_MutantBuild):
    objects: Path

    def _compile(self, progress) -> None:
        out, include, sim = self.folder / "out", self.verilator / "include", verilator_build.rtl_root() / "sim"
        units = {"runtime": [include / f"{name}.cpp" for name in ("verilated", "verilated_save", "verilated_threads")]}
        units["harness"] = self.harness
        for path in sorted(out.glob("*.cpp")):
            units.setdefault(path.stem.removeprefix("Vkvcpu_").split("__")[0] or "root", []).append(path)
        flags = [*verilator_build._COMPILE, OPTIMISE, "-DVM_TRACE=0", "-DVM_TRACE_FST=0", "-DVM_TRACE_VCD=0"]
        flags += [f"-DKVSIM_DATA_BITS={self.built.parameters.data_bits}"]
        for folder in (sim, sim / "lz4", include, include / "vltstd"):
            flags += ["-I", str(folder)]
        headers = [*sorted(out.glob("*.h")), *sorted(sim.rglob("*.h"))]
        flags += ["-I", "out", "-include", "all.h"]
        common = _hash(*self.compiler, *flags, *(path.read_bytes() for path in headers))
        (self.folder / "all.h").write_text(f'#include "{sim / "hooks.h"}"\n#include "V{verilator_build.TOP}__pch.h"\n')
        if not all((self.objects / f"{name}-{_key(common, files)}.o").exists() for name, files in units.items()):
            header = [*self.compiler, *flags[:-2], "-x", "c++-header", "all.h", "-o", "all.h.gch"]
            self._finish(self._start(header), "compiling the headers")
        compiled, running = [], []
        progress.total(len(units) + 1)
        for name, files in units.items():
            compiled.append(self.objects / f"{name}-{_key(common, files)}.o")
            if compiled[-1].exists():
                progress.advance()
                continue
            while len(running) >= (os.cpu_count() or 1):
                self._keep(running, progress)
            target = self.folder / f"{name}.o"
            command = [*self.compiler, *flags, "-c", self._unite(name, files), "-o", target]
            running.append((self._start(command), target, compiled[-1]))
        while running:
            self._keep(running, progress)
        self._finish(
            self._start([*self.compiler, "-shared", "-o", self.folder / f"{verilator_build.TOP}.so", *compiled]),
            "the linker",
        )
        progress.advance()

    def _keep(self, running: list[tuple[subprocess.Popen, Path, Path]], progress) -> None:
        """Wait for the oldest compilation, and put its object where the next build finds it, in one step."""
        process, target, kept = running.pop(0)
        self._finish(process, "compiling the model")
        beside = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copy(target, beside)
        beside.replace(kept)
        progress.advance()


def _key(common: str, files: list[Path]) -> str:
    return _hash(common, *(path.read_bytes() for path in files))


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]
