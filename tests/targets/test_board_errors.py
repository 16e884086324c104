"""What somebody sees whose board does not answer as it should: exit code 3, and one message with its remedy.

Whole `kvfpga` processes against virtual boards; what each transport says in detail is in test_uart_bridge.py and
test_pcie_mmio.py.
"""

from __future__ import annotations

import os
import pty
import subprocess
import tty

import pytest

from tests.helpers.board_process import KVFPGA, board


def kvfpga(tmp_path, *words):
    """One command; (exit code, stdout, stderr)."""
    done = subprocess.run(
        [*KVFPGA, "--session", str(tmp_path / "session"), *map(str, words)], capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


def refused(answer, *words):
    """Exit code 3, nothing on stdout, one message and its remedy."""
    code, out, err = answer
    assert (code, out) == (3, ""), err
    message, remedy = err.strip().splitlines()
    assert message.startswith("kvfpga: ") and remedy.startswith("  ") and len(remedy) > 10
    for word in words:
        assert word in err, err


def uart(*words):
    return board("board", "serve", "uart", "--clock-hz", "24000000", *words)


def xdma(tmp_path, *words):
    size = "--entries", "256", "--lanes", "4", "--data-bits", "128"
    return board("board", "serve", "xdma", str(tmp_path / "card"), *size, *words)


# ---- no board ----------------------------------------------------------------------------------------------------------
def test_no_port(tmp_path):
    refused(kvfpga(tmp_path, "--target", f"uart:{tmp_path}/ttyUSB0", "step", 1), "there is no port")


def test_no_card(tmp_path):
    refused(kvfpga(tmp_path, "--target", f"xdma:{tmp_path}", "step", 1), "xdma")


def test_a_file_is_no_port(tmp_path):
    (tmp_path / "file").write_text("x")
    refused(kvfpga(tmp_path, "--target", f"uart:{tmp_path}/file", "step", 1), "not a serial port")


def test_silence(tmp_path):
    master, slave = pty.openpty()
    tty.setraw(slave)
    refused(kvfpga(tmp_path, "--target", f"uart:{os.ttyname(slave)}@115200", "step", 1), "silence at 115200 baud")
    os.close(master), os.close(slave)


def test_the_dead_card(tmp_path):
    with xdma(tmp_path, "--inject", "ones@0") as target:
        refused(kvfpga(tmp_path, "--target", target, "step", 1), "dead link")


# ---- a board that is not right -----------------------------------------------------------------------------------------
@pytest.mark.xdist_group("uart-board")
def test_the_wrong_rate_names_the_right_one(tmp_path):
    with uart("--baud", "1000000") as target:
        port = target.partition("@")[0]
        refused(kvfpga(tmp_path, "--target", f"{port}@3000000", "step", 1), "one does at 1000000", f"{port}@1000000")


@pytest.mark.xdist_group("uart-board")
def test_the_wrong_bitstream(tmp_path, monkeypatch):
    """The board was built from other RTL, and the board file says so; or it has another size than the file says."""
    (tmp_path / "b.yaml").write_text(
        "target: uart:/dev/x\nbuild: {entries: 256, lanes: 1, data_bits: 64, head_dim: 2, classes: 16, id: 0x1234}\n"
    )
    (tmp_path / "c.yaml").write_text(
        "target: uart:/dev/x\nbuild: {entries: 512, lanes: 1, data_bits: 64, head_dim: 2, classes: 16}\n"
    )
    with uart() as target:
        found = kvfpga(tmp_path, "--board", tmp_path / "b.yaml", "--target", target, "step", 1)
        refused(found, "0x0000000000001234", "bitstream")
        found = kvfpga(tmp_path, "--board", tmp_path / "c.yaml", "--target", target, "step", 1)
        refused(found, "entries = 256", "c.yaml says 512")
        assert kvfpga(tmp_path, "--target", target, "step", 1)[0] == 0


@pytest.mark.xdist_group("uart-board")
def test_a_busy_port_and_card(tmp_path):
    import fcntl

    with uart() as target:
        port = target[len("uart:") :].partition("@")[0]
        with open(port, "rb+", buffering=0) as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            refused(kvfpga(tmp_path, "--target", target, "step", 1), "in use")
    with xdma(tmp_path) as target:
        with open(tmp_path / "card" / "xdma0_user", "rb+", buffering=0) as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            refused(kvfpga(tmp_path, "--target", target, "step", 1), "use")


# ---- a board that goes away --------------------------------------------------------------------------------------------
@pytest.mark.xdist_group("uart-board")
@pytest.mark.parametrize(
    "incident, words", [("unplug@400", "gone away"), ("stall@400", "stopped answering"), ("reset@400", "the board was reset")]
)
def test_a_uart_board_that_goes_away_in_the_middle(tmp_path, incident, words):
    with uart("--inject", incident) as target:
        (tmp_path / "s").write_text("".join(f"step {n}\n" for n in range(1, 30)))
        code, _, err = kvfpga(tmp_path, "--target", target, "run", tmp_path / "s")
        assert code == 3 and words in err, err


@pytest.mark.parametrize("fault, words", [("ones@7100", "dead link"), ("gone@7100", "gone"), ("reset@7100", "differ in")])
def test_a_card_that_goes_away_in_the_middle(tmp_path, fault, words):
    with xdma(tmp_path, "--inject", fault) as target:
        assert kvfpga(tmp_path, "--target", target, "reset")[0] == 0
        (tmp_path / "s").write_text("".join(f"step {n}\n" for n in range(1, 60)))
        code, _, err = kvfpga(tmp_path, "--target", target, "run", tmp_path / "s")
        assert code == (4 if fault.startswith("reset") else 3) and words in err, err
        if fault.startswith("reset"):  # the next command knows why
            refused(kvfpga(tmp_path, "--target", target, "step", 90), "reset behind its back", "kvfpga reset")
