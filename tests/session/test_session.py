"""session.py, history.py, target.py: what outlives a command. Whole or not at all, whatever ends it: test_crashes.py."""

from __future__ import annotations

import errno
import itertools
import json
import multiprocessing
import os

import pytest

from kvfpga.blackbox.history import History, MemoryWrite, QueryWrite, RegisterWrite, TableWrite
from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import SessionError, TargetError, UsageError
from kvfpga.contract.presets import PRESETS, weights
from kvfpga.session import session as sessions
from kvfpga.session.purpose import Purpose
from kvfpga.session.session import Session
from kvfpga.targets.target import Target, parse_target

MODEL = Target("model", 256)


def block(n: int) -> cmd.Load:
    return cmd.Load(1, 2, 3, 32 * n, 32 * n + 31, 0x7F000000 + 16384 * n)


def do(folder, *commands, target=MODEL, save=True, say=lambda text: None, for_reset=False):
    """Open, run, save: what one kvfpga process does. The results and a dump."""
    with Session(target, folder, say) as session:
        device = session.open(purpose=Purpose.RESET if for_reset else Purpose.RUN)
        results = device.execute_many(commands)
        if save:
            session.save()
        return results, device.dump(), device.telemetry()


# ---- state ---------------------------------------------------------------------------------------------------------
def test_a_new_session_has_the_balanced_preset_and_says_so(tmp_path):
    said = []
    with Session(MODEL, tmp_path / "s", said.append) as session:
        assert weights(session.open().settings()) == PRESETS["balanced"]
    assert len(said) == 1 and "balanced" in said[0]


def test_state_goes_on(tmp_path):
    do(tmp_path, block(0), block(1))
    do(tmp_path, cmd.Step(4))
    results, dump, telemetry = do(tmp_path, cmd.Lookup(1, 2, 3, 40))
    assert results[0].index == 1
    assert len(dump) == 2
    assert telemetry["current_step"] == 4


def test_what_is_not_saved_never_happened(tmp_path):
    do(tmp_path, block(0))
    do(tmp_path, block(1), save=False)
    assert len(do(tmp_path)[1]) == 1


@pytest.mark.parametrize("first", [False, True])
def test_what_is_said_of_a_disk_that_fails_is_true(tmp_path, monkeypatch, first):
    """Any fsync may fail, also the last one, behind the rename that makes the state count."""
    real, seen = os.fsync, set()
    for failing in itertools.count(1):
        folder, calls, said = tmp_path / str(failing), itertools.count(1), []
        if not first:
            do(folder, cmd.Step(1))

        def fsync(handle, calls=calls, failing=failing):
            if next(calls) == failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        try:
            do(folder, cmd.Step(2), say=said.append)
            told = [line for line in said if "did not confirm" in line]
            seen.add("stored" if told else "whole")
            step = 2
        except SessionError as error:
            assert "it stays as it was stored last" in error.message
            seen.add("failed")
            step, told = 0 if first else 1, ["Input/output error"]
        monkeypatch.setattr(os, "fsync", real)
        assert do(folder)[2]["current_step"] == step
        if not told:
            break
        assert "Input/output error" in told[0]
    assert seen == {"failed", "stored", "whole"}


def test_one_generation_stays(tmp_path):
    for n in range(3):
        do(tmp_path, block(n))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["current", "pages-1.bin"]


def test_the_number_of_commands_is_kept(tmp_path):
    do(tmp_path, block(0))
    with Session(MODEL, tmp_path) as session:
        session.open()
        assert session.commands_before == 8  # seven settings of the preset, one load


def test_memory_and_operand_registers_are_kept(tmp_path):
    with Session(MODEL, tmp_path) as session:
        device = session.open()
        device.memory_write(1234, b"bytes")
        device.write_register("BOOST_ADDR", 77)
        session.save()
    with Session(MODEL, tmp_path) as session:
        device = session.open()
        assert device.memory_read(1234, 5) == b"bytes"
        assert device.read_register("BOOST_ADDR") == 77


# ---- damage ---------------------------------------------------------------------------------------------------------
OLD = "state-00000007\n"  # what the first format had there
FORMAT_2 = '{"format": 2, "pages": {}}\n'


@pytest.mark.parametrize("damage", ["{", "{}", "[]", '{"format": 4}', FORMAT_2, OLD, None])
def test_a_damaged_session_is_refused_and_reset_starts_anew(tmp_path, damage):
    do(tmp_path, block(0))
    home = tmp_path / "model"
    (home / "state-00000007").mkdir()
    (home / "current").write_text(damage) if damage else (home / "pages-1.bin").write_bytes(bytes(100))
    with pytest.raises(SessionError) as error:
        do(tmp_path)
    assert "kvfpga reset" in error.value.remedy
    assert ("an older kvfpga" in str(error.value)) == (damage in (OLD, FORMAT_2))
    assert do(tmp_path, for_reset=True)[1] == []
    assert do(tmp_path)[1] == []
    assert len(list(home.iterdir())) == 2, "what is of no use goes"


def test_a_state_of_another_format_is_refused(tmp_path):
    do(tmp_path, block(0))
    current = tmp_path / "model" / "current"
    current.write_text(json.dumps(json.loads(current.read_text()) | {"format": 99}))
    with pytest.raises(SessionError, match="format 99"):
        do(tmp_path)


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="session folder"), Session(MODEL, tmp_path / "file"):
        pass


# ---- sizes and folders ---------------------------------------------------------------------------------------------
def test_sizes_are_the_sessions_where_none_are_asked_for(tmp_path):
    do(tmp_path, block(0))
    assert len(do(tmp_path, target=Target("model"))[1]) == 1
    with pytest.raises(SessionError, match="256 entries and 8 lanes, not 512 and 8"):
        do(tmp_path, target=Target("model", 512))
    assert do(tmp_path, target=Target("model", 512), for_reset=True)[1] == []


def test_a_folder_per_user_target_and_size(monkeypatch, tmp_path):
    monkeypatch.delenv("KVFPGA_SESSION", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    homes = {Session(Target(kind, entries)).home for kind in ("sim", "model") for entries in (None, 256)}
    assert len(homes) == 4
    monkeypatch.setenv("KVFPGA_SESSION", str(tmp_path / "mine"))
    assert Session(Target("model")).home == tmp_path / "mine" / "model"


# ---- the lock ------------------------------------------------------------------------------------------------------
def _hold(folder, held, release):
    with Session(MODEL, folder) as session:
        session.open()
        held.set()
        release.wait()
        session.save()


def test_a_second_command_waits_and_says_so(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    held, release = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_hold, args=(tmp_path, held, release))
    other.start()
    assert held.wait(60)
    said = []
    do(tmp_path, block(0), say=lambda text: (said.append(text), release.set()))
    assert said == ["waiting for another kvfpga that uses this session"]
    other.join()


def test_waiting_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "LOCK_TIMEOUT", 0.1)
    with Session(MODEL, tmp_path), pytest.raises(SessionError, match="another kvfpga"), Session(MODEL, tmp_path):
        pass


# ---- history -------------------------------------------------------------------------------------------------------
ITEMS = [
    block(0),
    cmd.Step(3),
    MemoryWrite(77, b"abc"),
    RegisterWrite(0x54, 5, 32),
    cmd.Set("STRICT", 0),
    MemoryWrite(1, b"z"),
    TableWrite(bytes(range(256)) * 64),
    QueryWrite(7, 1, bytes(range(256))),
    QueryWrite(0, 64, bytes(range(256)) * 64, kept=True),
    cmd.Score(1, 2, 3, 4, 5, 1),
    cmd.Touch(1, 2, 3, 0, cmd.hint_of(7, 9)),
    cmd.Class(1, 2, 3, 4, 5),
]


def test_a_history_comes_back_as_it_was(tmp_path):
    history = History(tmp_path)
    history.new += ITEMS[:3]
    history.commit()
    history.new += ITEMS[3:]
    assert list(History(tmp_path, history.commit()).old()) == ITEMS


def test_what_a_crash_left_in_the_files_does_not_count(tmp_path):
    history = History(tmp_path)
    history.new += ITEMS[:2]
    state = history.commit()
    history.new += ITEMS[2:]
    history.commit()
    again = History(tmp_path, state)
    assert list(again.old()) == ITEMS[:2]
    again.new.append(ITEMS[5])
    assert list(History(tmp_path, again.commit()).old()) == [*ITEMS[:2], ITEMS[5]]


def test_a_reset_starts_a_new_history(tmp_path):
    history = History(tmp_path)
    history.new += ITEMS
    old = history.commit()
    history.clear()
    history.new.append(ITEMS[1])
    assert list(History(tmp_path, old).old()) == ITEMS  # should the new state never be completed
    new = history.commit()
    history.sweep()
    assert list(History(tmp_path, new).old()) == [ITEMS[1]]
    assert len(list(tmp_path.iterdir())) == 2


# ---- targets -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["uart:/dev/ttyUSB0@921600", "xdma:/dev", "unix:/run/kv", "tcp://host:1"])
def test_devices_that_live_elsewhere(text):
    assert parse_target(text).is_board and parse_target(text).text == text


@pytest.mark.parametrize("text", ["tcp://host", "tcp:host:1", "tcp://host:99999", "unix:"])
def test_addresses_that_are_none(text):
    with pytest.raises(UsageError):
        parse_target(text)


@pytest.mark.parametrize("text", ["", "simulator", "uart:", "model:256", "Model"])
def test_no_such_target(text):
    with pytest.raises(UsageError, match="no such target"):
        parse_target(text)


@pytest.mark.parametrize(
    "sizes", [{"entries": 128}, {"entries": 131072}, {"entries": 1000}, {"lanes": 3}, {"lanes": 32}]
)
def test_sizes_that_no_device_has(sizes):
    with pytest.raises(UsageError, match="power of two"):
        parse_target("model", **sizes)


def test_an_rtl_folder_without_rtl_is_an_error(monkeypatch, tmp_path):
    from kvfpga.targets.target import rtl_sources

    monkeypatch.setenv("KVFPGA_RTL", str(tmp_path))
    with pytest.raises(TargetError, match="no SystemVerilog"):
        rtl_sources()
