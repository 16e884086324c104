"""Which built models may be loaded (D29), with a build that takes no time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvfpga.contract.errors import BuildError
from kvfpga.contract.parameters import Parameters
from kvfpga.transport.sim import build, cache

PROBE = Path(__file__).parent / "axi_probe.sv"


@pytest.fixture
def models(tmp_path, monkeypatch):
    """`build.model` of one small design, and how often it was built."""
    built = []

    def compile_it(self, progress):
        built.append(self.compiler)
        (self.folder / self.built.path.name).write_bytes(b"a shared object")

    monkeypatch.setenv("KVFPGA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build._Build, "_verilate", lambda self: self.log.touch())
    monkeypatch.setattr(build._Build, "_write_ports", lambda self: None)
    monkeypatch.setattr(build._Build, "_compile", compile_it)
    return (lambda: build.model(Parameters(entries=256, lanes=4, data_bits=128), [PROBE]).path), built


@pytest.mark.parametrize(("damage", "told"), [
    (lambda path: os.truncate(path, 3), "its content has changed"),
    (lambda path: path.write_bytes(b""), "its content has changed"),
    (lambda path: path.write_bytes(b"b" + path.read_bytes()[1:]), "its content has changed"),
    (lambda path: path.chmod(0o666), "others may write it"),
    (lambda path: path.parent.chmod(0o777), "others may write it"),
    (lambda path: os.chown(path, 12345, -1), "it belongs to user 12345"),
    (lambda path: (path.parent / cache.FACTS).write_text("[" * 100_000), "cannot be read"),
    (lambda path: (path.parent / cache.FACTS).unlink(), "cannot be read"),
])  # fmt: skip
def test_what_is_not_whole_or_not_ours_is_built_anew(models, capsys, damage, told):
    model, built = models
    path = model()
    assert model() == path and len(built) == 1
    damage(path)
    assert model() == path and len(built) == 2 and told in capsys.readouterr().err
    assert path.read_bytes() == b"a shared object" and model() == path and len(built) == 2


def test_nobody_else_may_write_a_model_whatever_the_umask(models):
    before = os.umask(0)
    try:
        path = models[0]()
    finally:
        os.umask(before)
    assert not any(part.stat().st_mode & 0o022 for part in (path, path.parent, path.parent.parent))


def test_a_cache_that_is_only_read_is_enough(models, monkeypatch):
    model, built = models
    path = model()

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(os, "open", refuse)
    assert model() == path and len(built) == 1
    path.unlink()
    with pytest.raises(BuildError, match="cannot be used: Read-only file system") as caught:
        model()
    assert "KVFPGA_CACHE" in caught.value.remedy


def test_a_relative_cache_and_a_compiler_with_arguments(models, monkeypatch, tmp_path):
    model, built = models
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KVFPGA_CACHE", "here")
    monkeypatch.setenv("CXX", "env g++ -v")
    assert model().is_relative_to(tmp_path / "here") and built[0][0].endswith("/env") and built[0][1:] == ["g++", "-v"]


def test_a_file_system_without_locks(models, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert models[0]().exists()
