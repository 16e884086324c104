"""Sessions and failure folders that are not as they were stored: refused with what is wrong; each remedy that is named works."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import socket
from pathlib import Path

import pytest

from kvfpga.blackbox.generation import FORMAT, current_state
from kvfpga.blackbox.pages import PAGE, WEIGHTS
from kvfpga.blackbox.seal import check_folder, seal_folder, sealed
from kvfpga.contract.errors import SessionError
from kvfpga.session.session import Session
from kvfpga.targets.target import Target
from tests.helpers.command_line import BLOCK, Kvfpga

FILES = ["current", "pages-1.bin", "history-1.jsonl", "history-1.bin"]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Sessions of a model and of a simulation after six commands, with bytes in memory and in the history, and their dumps."""
    folder = tmp_path_factory.mktemp("damage") / "first"
    for kind in ("model", "sim"):
        use(Kvfpga(folder, "--target", kind))
    return folder


def use(kv):
    kv("reset", "--raw")
    for n in range(2):
        kv("load", "--request", 1, "--layer", 0, "--head", 0, "--tokens", f"{32 * n}:{32 * n + 31}", "--va", n * BLOCK)
    kv("mem", "write", n * BLOCK, "0123456789abcdef")
    kv("step", 3)


@pytest.fixture
def of_kind(first, tmp_path):
    def make(kind):
        shutil.copytree(first, tmp_path / "s")
        return Kvfpga(tmp_path / "s", "--target", kind), tmp_path / "s" / kind

    return make


def made(make):
    """Damage: something else instead of the file."""

    def damage(path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        make(path)

    return damage


def changed(change):
    """Damage: other bytes in the file."""
    return made_from(lambda path, data: path.write_bytes(change(data)))


def made_from(write):
    def damage(path: Path) -> None:
        write(path, path.read_bytes())

    return damage


def text(found):
    return changed(lambda data: found.encode())


def meta(change):
    """Damage: `current` says something else, as text that is well-formed."""

    def of(data):
        found = json.loads(data)
        change(found)
        return json.dumps(found).encode() + b"\n"

    return changed(of)


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(path.parent, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")  # a path of a socket is short
        os.close(folder)


OTHERWISE = {
    "gone": made(lambda path: None),
    "folder": made(lambda path: path.mkdir()),
    "folder with a file": made(lambda path: (path.mkdir(), (path / "file").write_text("x"))),
    "loop of links": made(lambda path: path.symlink_to(path)),
    "link to nothing": made(lambda path: path.symlink_to(path.parent / "nothing")),
    "link to a folder": made(lambda path: path.symlink_to(path.parent)),
    "link to zeros": made(lambda path: path.symlink_to("/dev/zero")),
    "pipe": made(os.mkfifo),
    "socket": made(listen),
    "empty": changed(lambda data: b""),
    "cut": changed(lambda data: data[: len(data) // 2]),
    "a byte less": changed(lambda data: data[:-1]),
    "zeros": changed(lambda data: bytes(len(data))),
    "a bit": changed(lambda data: data[:-3] + bytes([data[-3] ^ 4]) + data[-2:]),
}
TEXTS = {
    name: text(found)
    for name, found in {
        "list": "[1]", "number": "1", "null": "null", "nan": '{"format": NaN}', "nothing": "{}", "deep": "[" * 100_000,
        "many digits": '{"format": ' + "1" * 5000 + "}", "format as text": '{"format": "3"}', "no pages": '{"format": 4}',
        "format 1": "state-00000007\n", "format 99": '{"format": 99}', "format -1": '{"format": -1}', "spaces": "  \n",
        "word": "broken",
    }.items()
} | {
    "latin-1": changed(lambda data: b"\xe9\xff" + data),
    "null byte": changed(lambda data: b"\0" + data),
    "line more": changed(lambda data: data + data),
    "no number": meta(lambda m: m["pages"].pop("number")),
    "number as text": meta(lambda m: m["pages"].update(number="../x")),
    "number below zero": meta(lambda m: m["pages"].update(number=-1)),
    "pages beyond": meta(lambda m: m["pages"].update(pages=1 << 70)),
    "runs beyond": meta(lambda m: m["pages"]["files"]["model.bin"].update(runs=[[1 << 40, 1]])),
    "runs without end": meta(lambda m: m["pages"]["files"]["model.bin"].update(runs=[[None, 1 << 40]])),
    "size below zero": meta(lambda m: m["pages"]["files"]["model.bin"].update(bytes=-1)),
    "size beyond": meta(lambda m: m["pages"]["files"]["model.bin"].update(bytes=1 << 62)),
    "no model": meta(lambda m: m["pages"]["files"].pop("model.bin")),
    "three entries": meta(lambda m: m.update(entries=3)),
    "entries as text": meta(lambda m: m.update(entries="x")),
    "commands as text": meta(lambda m: m.update(commands="x")),
}  # fmt: skip
KINDS = [(name, how, damage) for name in FILES for how, damage in OTHERWISE.items()]
KINDS += [("current", how, damage) for how, damage in TEXTS.items()]
CASES = [("model", *kind) for kind in KINDS if "history" not in kind[0]]
CASES += [("sim", *kind) for kind in KINDS if "history" in kind[0] and "socket" not in kind[1]]


@pytest.mark.parametrize(("kind", "name", "how", "damage"), CASES, ids=["-".join(case[:3]) for case in CASES])
def test_whatever_is_damaged_is_refused_and_both_remedies_work(of_kind, kind, name, how, damage):
    kv, home = of_kind(kind)
    damage(home / name)
    copy = home.parent.with_name("copy")
    if how not in ("link to zeros", "loop of links", "link to a folder", "pipe", "socket"):
        shutil.copytree(home.parent, copy, symlinks=True)
    before = sorted(path.name for path in home.iterdir())
    for words in (["telemetry"], ["dump"], ["verify"], ["step", 9], ["lookup", 1, 0, 0, 5]):
        assert kv(*words, code=3) == []
        assert "--recover" in kv.err or "format" in how, kv.err
        assert "kvfpga reset" in kv.err and "Traceback" not in kv.err
    assert sorted(path.name for path in home.iterdir()) == before, "nothing goes by looking"
    assert kv("reset", "--raw")["code"] == "OK"
    assert kv("dump")["entries"] == [] and kv("step", 2)["code"] == "OK"
    kept = {path.name.partition("-")[0] for path in home.iterdir()}
    assert kept <= {"current", "pages", "history"} and len(list(home.glob("pages-*"))) == 1 and current_state(home)
    if copy.exists() and "format" not in how:
        saved = Kvfpga(copy, "--target", kind, "--recover")
        if name == "pages-1.bin" and how in ("gone", "folder", "folder with a file", "link to nothing", "empty", "zeros"):
            assert saved("telemetry", code=3) == [] and "nothing in" in saved.err and "kvfpga reset" in saved.err
            return
        assert saved("telemetry")["current_step"] in ((0, 3) if name == "pages-1.bin" else (3,)), saved.err
        assert "recovered the state after" in saved.err
        again = Kvfpga(copy, "--target", kind)
        assert again("step", 9)["code"] == "OK" and again("verify")["code"] == "OK"


@pytest.mark.parametrize("damage", ["folder", "loop of links", "link to nothing", "pipe"])
def test_what_lies_where_the_next_state_goes_is_no_hindrance(of_kind, damage):
    for name in ("current.new", "pages-2.bin", "pages-x.bin", "history-2.jsonl"):
        kv, home = of_kind("model")
        OTHERWISE[damage](home / name)
        assert kv("step", 9)["code"] == "OK" and kv("telemetry")["current_step"] == 9
        assert sorted(path.name for path in home.iterdir() if path.name != name) == ["current", "pages-1.bin"]
        shutil.rmtree(home.parent)


@pytest.mark.parametrize("damage", ["folder", "loop of links", "pipe", "socket"])
def test_the_lock_may_be_something_else(of_kind, damage):
    kv, home = of_kind("model")
    OTHERWISE[damage](home.parent / "lock")
    assert kv("step", 9)["code"] == "OK"


def test_reset_works_where_the_folder_of_the_target_is_none(of_kind):
    kv, home = of_kind("model")
    shutil.rmtree(home)
    home.write_text("in the way")
    assert kv("telemetry", code=3) == []
    assert kv("reset")["code"] == "OK" and kv("telemetry")["current_step"] == 0


# ---- what was removed --------------------------------------------------------------------------------------------------
def test_a_current_that_somebody_removed_is_named_and_recovered(of_kind):
    kv, home = of_kind("model")
    (home / "current").unlink()
    pages = (home / "pages-1.bin").read_bytes()
    kv("telemetry", code=3)
    assert "pages-1.bin is there, with the state after 3 commands" in kv.err
    assert (home / "pages-1.bin").read_bytes() == pages and not (home / "current").exists()
    recovering = Kvfpga(home.parent, "--target", "model", "--recover")
    assert recovering("telemetry")["current_step"] == 3
    assert len(kv("dump")["entries"]) == 2
    recovering("telemetry")
    assert "nothing to recover" in recovering.err


def test_an_older_state_is_taken_where_the_newest_is_damaged(of_kind):
    kv, home = of_kind("model")
    before = (home / "pages-1.bin").stat().st_size
    kv("step", 8)
    with open(home / "pages-1.bin", "r+b") as file:  # what that step has written
        file.seek(before)
        file.write(bytes(PAGE))
    kv("telemetry", code=3)
    assert f"page {before // PAGE} of pages-1.bin" in kv.err
    recovering = Kvfpga(home.parent, "--target", "model", "--recover")
    assert recovering("telemetry")["current_step"] == 3
    assert "recovered the state after 3 commands, and not 4" in recovering.err
    assert kv("step", 9)["code"] == "OK"


@pytest.mark.xdist_group("mutant")
def test_after_a_damaged_history_there_is_no_waveform_until_a_reset(mutant, tmp_path, monkeypatch):
    monkeypatch.setenv("KVFPGA_RTL", str(mutant))  # of which others need a model that writes waveforms, too
    kv, home = Kvfpga(tmp_path / "s", "--target", "sim"), tmp_path / "s" / "sim"
    use(kv)
    OTHERWISE["a bit"](home / "history-1.jsonl")
    kv("verify", code=3)
    Kvfpga(home.parent, "--target", "sim", "--recover")("verify")
    traced = Kvfpga(home.parent, "--target", "sim", "--trace", str(tmp_path / "w.fst"))
    assert kv("step", 9)["checked"]
    traced("step", 10, code=2)
    assert "kvfpga reset" in traced.err and kv("telemetry")["current_step"] == 10
    kv("reset")
    traced("step", 10)
    assert (tmp_path / "w.fst").stat().st_size


@pytest.mark.parametrize("kind", ["model", "sim"])
@pytest.mark.parametrize("older", ["one command", "two commands", "nothing yet"])
def test_an_older_current_that_comes_back_is_refused(of_kind, tmp_path, kind, older):
    kv, home = of_kind(kind)
    if older == "two commands":
        shutil.copy(home / "current", tmp_path / "older")
    kv("step", 7)
    if older == "one command":
        shutil.copy(home / "current", tmp_path / "older")
    kv("step", 8)
    if older == "nothing yet":
        (tmp_path / "older").write_text(sealed({"format": FORMAT, "pages": None}))
    newest, pages = (home / "current").read_text(), (home / "pages-1.bin").read_bytes()
    shutil.copy(tmp_path / "older", home / "current")
    shutil.copytree(home.parent, tmp_path / "copy")
    for words in (["telemetry"], ["step", 9]):
        kv(*words, code=3)
        assert "is not the newest" in kv.err and "--recover" in kv.err and "kvfpga reset" in kv.err
    assert (home / "pages-1.bin").read_bytes() == pages
    recovering = Kvfpga(home.parent, "--target", kind, "--recover")
    assert recovering("telemetry")["current_step"] == 8
    assert (home / "current").read_text() == newest
    assert kv("step", 9)["code"] == "OK" and kv("verify")["code"] == "OK"
    anew = Kvfpga(tmp_path / "copy", "--target", kind)
    assert anew("reset", "--raw")["code"] == "OK" and anew("dump")["entries"] == [] and anew("step", 2)["code"] == "OK"


@pytest.mark.parametrize("kind", ["model", "sim"])
def test_an_older_session_that_comes_back_whole_is_gone_on_with(of_kind, tmp_path, kind):
    kv, home = of_kind(kind)
    shutil.copytree(home, tmp_path / "older")
    kv("step", 8)
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "older", home)
    assert kv("telemetry")["current_step"] == 3 and kv("step", 9)["code"] == "OK" and kv("verify")["code"] == "OK"


def test_after_going_back_the_damaged_state_does_not_come_up_again(of_kind):
    """Its description is whole, and newer than what counts now."""
    kv, home = of_kind("model")
    before = (home / "pages-1.bin").stat().st_size
    kv("step", 8)
    with open(home / "pages-1.bin", "r+b") as file:
        file.seek(before)
        file.write(bytes(PAGE))
    for words in (["--recover"], []):
        assert Kvfpga(home.parent, "--target", "model", *words)("telemetry")["current_step"] == 3


def test_what_a_file_has_grown_by_is_not_read(of_kind):
    kv, home = of_kind("model")
    os.truncate(home / "pages-1.bin", 1 << 40)
    assert kv("telemetry")["current_step"] == 3 and kv("step", 8)["code"] == "OK"
    assert (home / "pages-1.bin").stat().st_size < 1 << 30
    (home / "current").unlink()
    os.truncate(home / "pages-1.bin", 1 << 40)
    assert Kvfpga(home.parent, "--target", "model", "--recover")("telemetry")["current_step"] == 8


@pytest.mark.parametrize("lost", ["none of it is there", "zeros"])
def test_a_description_that_a_power_failure_lost_is_no_damage(of_kind, lost):
    """Nothing waits for it to be on the disk."""
    kv, home = of_kind("sim")
    state = current_state(home)
    begin = PAGE * state.meta["pages"]["described"]
    size = (home / "pages-1.bin").stat().st_size
    os.truncate(home / "pages-1.bin", begin)
    if lost == "zeros":
        os.truncate(home / "pages-1.bin", size)
    assert kv("telemetry")["current_step"] == 3
    assert kv("step", 8)["code"] == "OK" and kv("verify")["code"] == "OK"
    (home / "current").unlink()
    assert Kvfpga(home.parent, "--target", "sim", "--recover")("telemetry")["current_step"] == 8


def test_a_session_without_a_state_has_nothing_to_recover(tmp_path):
    kv = Kvfpga(tmp_path / "s", "--recover")
    assert kv("telemetry")["current_step"] == 0 and "nothing to recover" in kv.err


# ---- bits --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["model", "sim"])
def test_no_flipped_bit_is_accepted(first, tmp_path, kind):
    """Anywhere in any file, also where nothing counts any more."""
    rng = random.Random(13)
    home = tmp_path / "s" / kind
    shutil.copytree(first, tmp_path / "s")
    with Session(Target(kind, 256), tmp_path / "s") as session:
        session.open()  # whole
    for name in FILES:
        path = home / name
        if not path.exists():
            continue
        good = path.read_bytes()
        for place in rng.sample(range(len(good)), 40 if name == "pages-1.bin" else 8):
            bad = bytearray(good)
            bad[place] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            kv = Kvfpga(tmp_path / "s", "--target", kind)
            kv("verify", code=3)
        path.write_bytes(good)
    assert Kvfpga(tmp_path / "s", "--target", kind)("verify")["code"] == "OK"


def test_no_pair_of_flipped_bits_is_accepted(first, tmp_path):
    """The same bit of two words of a page: of a stuck line of a memory, say."""
    rng = random.Random(14)
    shutil.copytree(first, tmp_path / "s")
    path = tmp_path / "s" / "model" / "pages-1.bin"
    good = path.read_bytes()
    for page, bit in [(page, bit) for page in range(len(good) // PAGE) for bit in (31, 62, 63)]:
        bad = bytearray(good)
        for word in rng.sample(range(PAGE // 8), 2):
            bad[PAGE * page + 8 * word + bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(SessionError), Session(Target("model", 256), tmp_path / "s") as session:
            session.open()


def test_one_or_two_flipped_bits_of_a_page_always_change_its_sum():
    """A bit adds or takes away 2^bit times the weight of its word of 32 bits. So different bits of two words never make up for
    each other where all weights are odd; the same bit, where they differ in what 2^31 leaves of them."""
    assert all(weight % 2 for weight in WEIGHTS.tolist())
    last = {weight % 2**33 for weight in WEIGHTS.tolist()}
    assert len(last) == len(WEIGHTS) and not last & {-weight % 2**33 for weight in last}


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("name", ["current", "pages-1.bin"])
def test_what_the_system_cannot_do_is_not_called_damage(of_kind, monkeypatch, error, name):
    """No remedy that throws the state away: there is nothing wrong with it."""
    _, home = of_kind("model")

    def refuse(path, *arguments):
        if os.path.basename(path) == name:
            raise OSError(error, os.strerror(error), str(path))
        return opened(path, *arguments)

    opened = os.open
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SessionError) as caught, Session(Target("model", 256), home.parent) as session:
        session.open()
    assert os.strerror(error) in caught.value.message and "damaged" not in caught.value.message
    assert "reset" not in (caught.value.remedy or "")
    monkeypatch.undo()
    with Session(Target("model", 256), home.parent) as session:
        assert session.open().telemetry()["current_step"] == 3


def test_a_bit_that_flips_in_a_failure_folder_is_seen(tmp_path):
    names = ["report.json", "commands.kvfpga", "board.json"]
    for name in names:
        (tmp_path / name).write_text(f"what {name} says\n" * 20)
    seal_folder(tmp_path)
    check_folder(tmp_path)
    chance = random.Random(3)
    for number in range(60):
        path = tmp_path / [*names, "checksums.json"][number % 4]
        whole = path.read_bytes()
        bad = bytearray(whole)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(SessionError, match=r"damaged|changed"):
            check_folder(tmp_path)
        path.write_bytes(whole)
    check_folder(tmp_path)


def test_a_file_that_has_grown_beyond_all_memory_is_refused(tmp_path):
    (tmp_path / "report.json").write_text("what it says")
    seal_folder(tmp_path)
    for name in ("report.json", "checksums.json"):
        os.truncate(tmp_path / name, 1 << 40)
        with pytest.raises(SessionError, match=rf"damaged, or was changed: {name}"):
            check_folder(tmp_path)
