"""`kvfpga program`: what openFPGALoader is asked to do, and how its end is told. A stand-in on PATH takes its place."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from kvfpga.cli.program import program as command
from kvfpga.contract.errors import TargetError, UsageError
from kvfpga.targets import bitstream as module

STAND_IN = """#!/bin/sh
printf '%s\\n' "$@" > "$RECORD"
echo "Load SRAM: 100.00%"
echo "a warning" >&2
exit "${STATUS:-0}"
"""


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """The stand-in in a folder of its own on PATH; returns what it was called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "openFPGALoader").write_text(STAND_IN)
    (folder / "openFPGALoader").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("RECORD", str(tmp_path / "arguments"))
    return lambda: (tmp_path / "arguments").read_text().splitlines()


@pytest.fixture
def bitstream(tmp_path):
    path = tmp_path / "design.bit"
    path.write_bytes(b"\xff\x00LSCC")
    return path


@pytest.mark.parametrize(
    "chosen, options",
    [
        ({"board": "ulx3s"}, ["--board", "ulx3s"]),
        ({"cable": "ft231X"}, ["--cable", "ft231X"]),
        ({"board": "ulx3s", "cable": "ft231X", "flash": True}, ["--board", "ulx3s", "--cable", "ft231X", "--write-flash"]),
    ],
)
def test_arguments(loader, bitstream, chosen, options):
    module.program(bitstream, **chosen)
    assert loader() == [*options, str(bitstream)]


def test_output_is_let_through(loader, bitstream, capfd):
    module.program(bitstream, board="ulx3s")
    out, err = capfd.readouterr()
    assert "Load SRAM: 100.00%" in out and "a warning" in err


def test_failure(loader, bitstream, monkeypatch):
    monkeypatch.setenv("STATUS", "7")
    with pytest.raises(TargetError, match="openFPGALoader failed with exit status 7") as caught:
        module.program(bitstream, board="ulx3s")
    assert caught.value.exit_code == 3 and "plugged in" in caught.value.remedy


def test_killed(bitstream, monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: name)
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -9))
    with pytest.raises(TargetError, match="ended by signal 9"):
        module.program(bitstream, board="ulx3s")


def test_not_installed(bitstream, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(TargetError, match="not installed") as caught:
        module.program(bitstream, board="ulx3s")
    assert "apt-get install openfpgaloader" in caught.value.remedy


def test_does_not_start(loader, bitstream, tmp_path):
    (tmp_path / "bin" / "openFPGALoader").write_text("#!/no/such/interpreter\n")
    with pytest.raises(TargetError, match="cannot be started"):
        module.program(bitstream, board="ulx3s")


def test_bad_bitstreams(loader, tmp_path):
    with pytest.raises(UsageError, match="no bitstream"):
        module.program(tmp_path / "missing.bit", board="ulx3s")
    with pytest.raises(UsageError, match="no bitstream"):
        module.program(tmp_path, board="ulx3s")
    (tmp_path / "empty.bit").touch()
    with pytest.raises(UsageError, match="empty"):
        module.program(tmp_path / "empty.bit", board="ulx3s")
    assert not (tmp_path / "arguments").exists()


def test_neither_board_nor_cable(loader, bitstream, tmp_path):
    with pytest.raises(UsageError, match="neither board nor cable") as caught:
        module.program(bitstream)
    assert "--list-boards" in caught.value.remedy
    assert not (tmp_path / "arguments").exists()


# ---- the command -------------------------------------------------------------------------------------------------------


def run(board, *arguments):
    """The command as the group would run it, with what it asks of the application."""
    shown = []
    app = SimpleNamespace(target=SimpleNamespace(board=board), present=lambda found, people: shown.append(found))
    result = CliRunner().invoke(command, list(arguments), obj=app, standalone_mode=False)
    if result.exception:
        raise result.exception
    return shown


@pytest.fixture(autouse=True)
def stderr_with_a_file(monkeypatch):
    """CliRunner's stderr is no file; the command hands a descriptor on."""
    monkeypatch.setattr("kvfpga.cli.program.sys", SimpleNamespace(stderr=SimpleNamespace(fileno=lambda: 2)))


def board_file(bitstream):
    return SimpleNamespace(bitstream=bitstream, program_board="ulx3s", program_cable=None)


def test_command_takes_everything_from_the_board_file(loader, bitstream):
    assert run(board_file(bitstream)) == [{"command": "program", "code": "OK", "bitstream": str(bitstream), "flash": False}]
    assert loader() == ["--board", "ulx3s", str(bitstream)]


def test_command_line_goes_first(loader, bitstream, tmp_path):
    other = tmp_path / "other.bit"
    other.write_bytes(b"1")
    run(board_file(bitstream), str(other), "--cable", "dirtyJtag", "--flash")
    assert loader() == ["--cable", "dirtyJtag", "--write-flash", str(other)]


def test_command_without_board(loader, bitstream):
    shown = run(None, str(bitstream), "--board-name", "ulx3s")
    assert json.dumps(shown) and loader() == ["--board", "ulx3s", str(bitstream)]


def test_command_without_bitstream(loader):
    with pytest.raises(UsageError, match="which bitstream"):
        run(None, "--board-name", "ulx3s")
