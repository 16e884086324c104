"""Files that users hand in: whatever is in them, the error names the file, the rule and the remedy (D29)."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest

from kvfpga.contract import inputs, strict_yaml
from kvfpga.contract.block_files import read_blocks, read_data
from kvfpga.contract.errors import UsageError
from kvfpga.contract.files import sync
from kvfpga.targets import boards

BLOCK = 16384
CSV = "request,layer,head,tokens,va\n"
JSON = '{"request":1,"layer":2,"head":3,"tokens":"0:31","va":"0x1000"%s}'
YAML = "- request: 1\n  layer: 2\n  head: 3\n  tokens: 0:31\n  va: "
BOMB = "- &a [x]\n" + "- &b [*a, *a, *a, *a, *a, *a, *a, *a]\n" * 9
BOARD = "target: uart:/dev/ttyUSB0\nbuild: {entries: %s, lanes: 1, data_bits: 64}\n%s"


def npy(header: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body


def described(kind: str, shape: str, body: bytes = b"") -> bytes:
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}", body)


def archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.csv", CSV + "x" * 200_000, "field larger than field limit"),
    ("a.csv", CSV[:-1] + ",request\n", "the header has 'request' twice"),
    ("a.csv", CSV + "1,2,3,0:31," + "9" * 5000, "does not fit into 64 bits"),
    ("a.csv", CSV + "1,1,1,0:31,1\n" * 65537, "more than 65,536 rows"),
    ("a.json", "[" * 100_000, "nested too deep"),
    ("a.jsonl", JSON % ',"request":2', "'request' stands twice"),
    ("a.jsonl", JSON % ',"data":"\\u0000"', "cannot read"),
    ("a.yaml", "[" * 100_000, "nested deeper than 20"),
    ("a.yaml", BOMB, "aliases"),
    ("a.yaml", YAML + "!!float 1", "tags"),
    ("a.yaml", YAML + "1\n  va: 2", "'va' stands twice"),
    ("a.yaml", "? [a]\n: 1", "a name must be one word"),
])  # fmt: skip
def test_block_files_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_blocks(tmp_path / name, BLOCK)
    assert caught.value.remedy and len(caught.value.message) < 500


@pytest.mark.parametrize(("content", "message"), [
    (described("<f2", "(1000000000000,)"), "more than the"),
    (described("<f2", f"({1 << 70},)"), "more than the"),
    (described("<f2", "(-2, -4096)", bytes(BLOCK)), "no array"),
    (described("<f2", "(8192,)", bytes(BLOCK - 1)), "ends after 16,383"),
    (described("|O", "(3,)"), "not plain numbers"),
    (npy("{'descr'"), "no array"),
    (npy("(" * 5000), "no array"),
    (archive(), "no array"),
    (b"", "no array"),
    (described("<f4", "(4096,)", bytes(BLOCK)), "holds float32, a block FP16"),
    (described("<f2", "(8,)", bytes(16)), "has 16 bytes, a block 16,384"),
])  # fmt: skip
def test_arrays_are_refused(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_data(tmp_path / "a.npy", BLOCK)
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<u2", ">i2"])
def test_the_byte_order_of_an_array_is_the_device_s(tmp_path, kind):
    values = np.arange(BLOCK // 2).astype(kind)
    np.save(tmp_path / "a.npy", values)
    assert read_data(tmp_path / "a.npy", BLOCK) == values.astype("<" + kind[1:]).tobytes()


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "loop", tmp_path / "none"):
        with pytest.raises(UsageError, match="cannot read") as caught:
            inputs.read_bytes(path, 10)
        assert caught.value.remedy
    with open(tmp_path / "large", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="more than the 10 bytes"):
        inputs.read_bytes(tmp_path / "large", 10)


@pytest.mark.parametrize(("entries", "more", "message"), [
    ("256.0", "", "build.entries: '256.0' is not allowed"),
    ("0400", "", "'0400' is not allowed"),
    ("yes", "", "'yes' is not allowed"),
    ("9" * 5000, "", "5,002 characters"),
    ("256", "tiers: [0, 0, 0, 2020-13-45]", "'2020-13-45' is not allowed"),
    ("256", "memory_offset: 1.0", "'1.0' is not allowed"),
    ("256", "1: 3", "1 is no key"),
    ("256", "target: x", "'target' stands twice"),
    ("256", "description: !!int x", "tags"),
    ("256", "description: *x", "aliases"),
])  # fmt: skip
def test_board_files_are_refused(tmp_path, entries, more, message):
    (tmp_path / "b.yaml").write_text(BOARD % (entries, more))
    with pytest.raises(UsageError, match=message):
        boards.load(tmp_path / "b.yaml")


def test_numbers_of_a_board_file_are_decimal_or_hex():
    assert strict_yaml.values("[256, 0x100, -1, true, null, 32:40]")[0] == [256, 256, -1, True, None, "32:40"]


def test_a_folder_that_refuses_fsync_is_no_failure(tmp_path, monkeypatch):
    def refuse(handle):
        raise OSError(22, "Invalid argument")

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "fsync", refuse)
    sync(tmp_path)
    with pytest.raises(OSError):
        sync(tmp_path / "file")
