"""Saved views beside each waveform: what one looks at first, in groups. FILE.gtkw for GTKWave, FILE.sucl for Surfer.

The signals are found by GROUPS among the names that the waveform really has, so nothing in a view is dead, whatever the build
lacks (a device without the compute engine has no such group). Vectors get their range, by which GTKWave tells names apart.

Surfer's view is a file of commands (`--command-file`): its saved state is not a format that stays. A divider stands before each
group there, since commands can group only what a hand has marked, and its title is one word, which is all that the command takes.
A vector goes without its range, one of a single bit with its index.

States are shown by their names in an .fst, which carries them; a .vcd has their numbers.

It takes the extra kvfpga[waves]: pywellen reads the names, pyvcd writes GTKWave's view. Without it there is a waveform and no
view. A view that is there already stays: it may be somebody's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = "pywellen", "vcd"
GTKWAVE, SURFER = ".gtkw", ".sucl"
TOP = r"TOP\.kvcpu\."
GROUPS: dict[str, tuple[str, ...]] = {
    "clock and reset": (r"clk", r"rst", r"idle", r"irq", r"u_reset\.phase"),
    "bus writes": (r"s_axil_(aw|w|b)(addr|data|strb|resp|valid|ready)",),
    "bus reads": (r"s_axil_(ar|r)(addr|data|resp|valid|ready)",),
    "commands": (
        r"u_commands\.(push|pop|level)", r"u_engine\.(cmd_valid|cmd_take|code|matched|has_index|index|tier|t)",
        r"u_engine\.result_valid", r"u_results\.(level|pop)",
    ),
    "states": (r"u_engine\.state", r"u_axil\.wstate", r"u_free_map\.phase"),
    "pass and lanes": (
        r"u_pass\.(start|active|row|row_valid|row_index|done|t1_used)", r"u_pass\.l_(matched|write|evict|prefetch|freed|guarded)",
        r"u_pass\.(l_pool|l_outside|theta|wins|granted)",
    ),
    "keys": (r"u_engine\.key_(valid|ready|done|hit|hit_index|unresolved)",),
    "triggers and completions": (
        r"u_dma\.(trigger_valid|trigger_ready|trigger_channel|completion_valid|idle)", r"u_dma\.(ch_idle|order_channel)",
    ),
    "memory reads": (r"m_axi_ar(id|addr|len|valid|ready)", r"m_axi_r(id|data|resp|last|valid|ready)"),
    "memory writes": (r"m_axi_aw(id|addr|len|valid|ready)", r"m_axi_w(data|strb|last|valid|ready)",
                      r"m_axi_b(id|resp|valid|ready)"),
    "compute engine": (r"u_engine\.job_(valid|ready|addr|rows|slot|numerators|done|error)", r"u_engine\.scored"),
}  # fmt: skip
"""By title, patterns of the names below kvcpu; a group shows them in this order, those of one pattern as the design has them."""

VECTORS = re.compile(TOP + r"(u_pass\.(l_\w+|wins|granted)|m_axi_(ar|aw|r|b)id)")
"""Signals whose width follows from a parameter (lanes, channels): vectors with a range even where it is 1."""


def write(waveform: Path) -> None:
    """Write the views of a waveform (.fst or .vcd) beside it, where the extra is installed and no such view is there. What cannot
    be read as a waveform gets none: a view is not worth losing what it belongs to."""
    missing = [suffix for suffix in (GTKWAVE, SURFER) if not waveform.with_suffix(suffix).exists()]
    if not missing or not waveform.exists() or not all(find_spec(library) for library in LIBRARIES):
        return
    try:
        found = groups(waveform)
    except RuntimeError:  # all that pywellen knows
        return
    if GTKWAVE in missing:
        _write_gtkwave(waveform, found)
    if SURFER in missing:
        waveform.with_suffix(SURFER).write_text("".join(_surfer_commands(waveform, found)), "utf-8")


def _write_gtkwave(waveform: Path, found: dict[str, list[str]]) -> None:
    from vcd.gtkw import GTKWSave

    with waveform.with_suffix(GTKWAVE).open("w", encoding="utf-8") as file:
        save = GTKWSave(file)
        save.dumpfile(waveform.name, abspath=False)  # beside it, wherever the folder goes
        save.dumpfile_size(waveform.stat().st_size)
        save.timestart(0)
        for title, names in found.items():
            with save.group(title, closed=title not in ("commands", "states")):
                for name in names:
                    save.trace(name, datafmt="hex" if name.endswith("]") else "bin")


def _surfer_commands(waveform: Path, found: dict[str, list[str]]) -> Iterator[str]:
    yield f"# surfer {waveform.name} --command-file {waveform.with_suffix(SURFER).name}\n"
    for title, names in found.items():
        yield f"divider_add {title.replace(' ', '_')}\n"
        for name in names:
            plain, _, bits = name.partition("[")
            yield f"variable_add {plain}{'[0]' if bits == '0:0]' else ''}\n"


def opening(waveform: Path) -> str:
    """How to open it, view and all."""
    view = waveform.with_suffix(GTKWAVE)
    return f"gtkwave {waveform} {view}" if view.exists() else f"gtkwave {waveform}"


def groups(waveform: Path) -> dict[str, list[str]]:
    """The signals of each group that has some, by the names that GTKWave knows them by."""
    from pywellen import Waveform

    names = {var.full_name: var.length for var in Waveform(str(waveform)).all_vars()}
    found = {}
    for title, patterns in GROUPS.items():
        whole = [re.compile(TOP + pattern) for pattern in patterns]
        shown = [name for pattern in whole for name in names if pattern.fullmatch(name)]
        if shown:
            found[title] = [_with_range(name, names[name]) for name in shown]
    return found


def _with_range(name: str, width: int | None) -> str:
    """The design counts the bits of what is shown here from 0 up."""
    return name if width in (None, 1) and not VECTORS.fullmatch(name) else f"{name}[{(width or 1) - 1}:0]"
