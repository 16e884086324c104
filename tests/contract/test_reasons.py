"""A refusal names the value, the rule and what is allowed: every setting at its limits, and every other refusal of the rules."""

from __future__ import annotations

import re

import pytest

from kvfpga.contract import commands as cmd
from kvfpga.contract.commands import Set
from kvfpga.contract.errors import DeviceRefused, UsageError
from kvfpga.contract.presets import SETTING_OF
from kvfpga.contract.settings import LIMITS, TIER_BASES, reset_values
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.reference import Reference
from tests.helpers.command_line import BLOCK, LOAD, Kvfpga

ENTRIES = 256
BEYOND = {
    **{name: (most, most + 1, f"0 to {most} (R") for name, most in LIMITS.items()},
    **{name: (3 * BLOCK, 3 * BLOCK + 1, f"a multiple of the {BLOCK} bytes of a block (R6)") for name in TIER_BASES},
    "EVICT_TIER": (3, 4, "tier 2 or 3 (R16)"),
    "T1_CAPACITY": (ENTRIES, ENTRIES + 1, f"0 to {ENTRIES} blocks"),
    "PTABLE_COMMIT": (1, 2, "only 1 swaps"),
}
"""Setting → the last value that is allowed, one that is not, and what the refusal says is."""


def test_the_table_has_every_setting():
    assert set(BEYOND) == set(reset_values(ENTRIES, BLOCK))


@pytest.mark.parametrize("name", BEYOND)
def test_a_setting_beyond_its_limit_says_value_rule_and_range(name):
    device = ReferenceModel(ENTRIES)
    last, beyond, allowed = BEYOND[name]
    assert device.execute(Set(name, last)) == cmd.Result("OK")
    found = device.execute(Set(name, beyond))
    assert found.code == "ERR_RANGE"
    assert f"{name} is {beyond}; " in found.why.replace(f"({name})", name) or f"({name}) is {beyond}; " in found.why
    assert allowed in found.why and re.search(r"\(R\d+\)", found.why)


def test_strict_is_one_bit_of_a_register_and_says_so_before_any_device_is_asked():
    with pytest.raises(UsageError, match=r"STRICT is 2; it has 1 bit, 0 to 0x1 \(R22\)"):
        Reference(ReferenceModel(ENTRIES)).execute(Set("STRICT", 2))


@pytest.mark.parametrize("name", [name for name in BEYOND if name != "STRICT"])
def test_in_lockstep_with_hardware_the_same_is_said(lockstep, name):
    alone = Reference(ReferenceModel(ENTRIES))
    command = Set(name, BEYOND[name][1])
    found = lockstep.execute(command)
    assert found.code == "ERR_RANGE" and found.why == alone.execute(command).why != ""


def test_without_checking_it_is_said_as_well(lockstep):
    lockstep.check = False
    assert "w_r (WEIGHT_R) is 300" in lockstep.execute(Set("WEIGHT_R", 300)).why


def test_a_setting_that_waits_for_an_empty_directory_says_so(dut):
    dut.execute(cmd.Load(1, 0, 0, 0, 31, 0))
    found = dut.execute(Set("EVICT_TIER", 3))
    assert found.code == "ERR_NOT_EMPTY"
    assert "EVICT_TIER is asked to be 3; while blocks are loaded it stays, and 1 are" in found.why


@pytest.mark.parametrize("command, why", [
    (cmd.Load(1, 0, 0, 33, 40, 0), "token_start is 33; a block begins at a multiple of 32 tokens (R10)"),
    (cmd.Load(1, 0, 0, 32, 64, 0), "token_end is 64; a block from 32 on ends at 32 to 63 (R10)"),
    (cmd.Load(1, 0, 0, 0, 31, 0, tier=4), "tier is 4; 0 to 3 (R11)"),
    (cmd.Load(1, 0, 0, 0, 31, 0, hint=1 << 17), "hint is 0x20000; class, order and set are 17 bits, 0 to 0x1ffff (R41)"),
    (cmd.Load(9, 1, 2, 0, 31, 0), "request 9, layer 1, head 2, token 0 is block 0; a key is there once (R10)"),
    (cmd.Step(1 << 32), f"step is {1 << 32}; a step has 32 bits, 0 to {(1 << 32) - 1} (R6)"),
    (cmd.Step(4), "step is 4; steps do not go back, 5 or more (R10)"),
    (cmd.Prefetch(0, 1, 4), "step is 4; steps do not go back, 5 or more (R10)"),
    (cmd.Hot(0, 0), "length is 0; a range has 1 byte or more (R10)"),
    (cmd.Evict((1 << 64) - 1, 2), "the range ends at 0x10000000000000001; addresses end at 2^64 (R10)"),
    (cmd.UnloadRequest(1 << 16), "request is 65536; a request has 16 bits, 0 to 65535 (R21)"),
    (cmd.ShareIndex(7), "entry 7 holds no block; entries are 0 to 255 (R10)"),
    (cmd.Class(0, 1, 256), "class is 256; the table of this device has 256 classes, 0 to 255 (R45)"),
    (cmd.Class(0, 1, 0, base=256), "base is 256; 0 to 255 (R42)"),
    (cmd.Class(0, 1, 0, shift=16), "shift is 16; 0 to 15 (R42)"),
    (cmd.Score(9, 1, 2, 0, 64), "slot is 64; the buffer has 64 slots, 0 to 63 (R30)"),
    (cmd.Score(9, 1, 2, 0, 0, flags=2), "flags is 2; bit 0 asks for numerators, 0 to 1 (R32)"),
    (cmd.Score(8, 1, 2, 0, 0), "no block holds request 8, layer 1, head 2, token 0; SCORE takes one that is loaded (R30)"),
])  # fmt: skip
def test_a_refused_command_says_value_rule_and_what_is_allowed(dut, command, why):
    dut.execute_many([cmd.Load(9, 1, 2, 0, 31, 0), cmd.Step(5)])
    found = dut.execute(command)
    assert found.code != "OK" and found.why == why


def test_what_is_not_refused_has_no_reason(dut):
    assert dut.execute(cmd.Step(1)).why == ""


def test_from_python_the_exception_says_it():
    with pytest.raises(DeviceRefused, match=r"w_d \(WEIGHT_D\) is 256; a weight has 8 bits, 0 to 255 \(R6\)"):
        Reference(ReferenceModel(ENTRIES)).weights(w_d=256)


# ---- on the command line ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name, setting", SETTING_OF.items())
def test_weights_set_says_it(tmp_path, name, setting):
    kv, most = Kvfpga(tmp_path), LIMITS[setting]
    shown = kv.text("weights", "set", f"--{name.replace('_', '-')}", most + 1, code=1)
    assert f"{name} ({setting}) is {most + 1}; " in shown and f"0 to {most} (R6)" in shown
    assert kv("weights", "set", f"--{name.replace('_', '-')}", most)["code"] == "OK"


@pytest.mark.parametrize("words, why", [
    (["config", "--t1-capacity", 257], "T1_CAPACITY is 257; tier 1 has room for 0 to 256 blocks, the entries of this device"),
    (["policy", "ranked", "--fill-age", 256], "FILL_AGE is 256; an age has 8 bits, 0 to 255 (R46)"),
    (["reg", "write", "TIER_BASE2", 5], "TIER_BASE2 is 5; a tier begins at a multiple of the 16384 bytes of a block (R6)"),
    (["load", *LOAD[1:], "--hint", "0x20000"], "hint is 0x20000; class, order and set are 17 bits, 0 to 0x1ffff (R41)"),
    (["class", 0, 1, "--class", 256], "class is 256; the table of this device has 256 classes, 0 to 255 (R45)"),
])  # fmt: skip
def test_the_command_line_says_it_to_people_and_beside_json(tmp_path, words, why):
    kv = Kvfpga(tmp_path)
    assert why in kv.text(*words, code=1)
    assert kv(*words, code=1)["code"] == "ERR_RANGE" and why in kv.err


@pytest.mark.parametrize("words, said", [
    (["reg", "write", "SCRATCH", 1 << 32], "SCRATCH is asked to be 0x100000000; it has 32 bits, 0 to 0xffffffff (R1)"),
    ([*LOAD, "--tokens", f"0:{1 << 32}"], "a token position has 32 bits, 0 to 4,294,967,295"),
    ([*LOAD, "--va", "-1"], "'-1' is not a number in decimal or 0x, from 0 on"),
    ([*LOAD, "--class", 256], "256 does not fit into 8 bits: 0 to 255"),
    ([*LOAD, "--tier", 4], "4 does not fit into 2 bits: 0 to 3"),
    (["step", 1 << 64], f"{1 << 64} does not fit into 64 bits: 0 to {(1 << 64) - 1:,}"),
    (["mem", "read", (1 << 64) - 1, 2], "end at 0x10000000000000001; addresses end at 2^64"),
    (["mem", "write", 0, "xyz"], "HEX is 'xyz'; it has two digits 0-9, a-f for each byte"),
    (["weights", "preset", "best"], "'best' is not one of 'seed', 'balanced'"),
    (["step", 1, "--entries", 300], "must be a power of two from 256 to 65536, not 300"),
])  # fmt: skip
def test_what_cannot_be_meant_says_it_too(tmp_path, words, said):
    kv = Kvfpga(tmp_path)
    assert kv(*words, code=2) == [] and said in kv.err
