"""Commands as lines of a `.kvfpga` script: what a program did can be run again with `kvfpga run` (contract section 8)."""

from __future__ import annotations

from . import commands as cmd
from .commands import Command


def _hint(hint: int) -> str:
    """The options that make a hint of LOAD, TOUCH or SCORE (R41)."""
    if hint >> 17:  # refused, so it must stay as it is
        return f" --hint {hint:#x}"
    return f" --class {hint & 0xFF} --order {hint >> 8 & 0xFF}" if hint & cmd.HINT_SET else ""


def line(command: Command) -> str:
    """The command line, without `kvfpga`, that does the same."""
    match command:
        case cmd.Load(request, layer, head, token_start, token_end, va, tier, hint):
            return (
                f"load --request {request:#x} --layer {layer} --head {head} --tokens {token_start}:{token_end}"
                f" --va {va:#x} --tier {tier}{_hint(hint)}"
            )
        case cmd.Step(step):
            return f"step {step}"
        case cmd.Prefetch(addr, length, target):
            return f"prefetch {addr:#x} {length:#x} {target}"
        case cmd.Hot() | cmd.Evict() | cmd.Share() | cmd.Release() | cmd.Unload():
            return f"{command.name} {command.addr:#x} {command.length:#x}"
        case cmd.UnloadRequest(request):
            return f"unload --request {request:#x}"
        case cmd.Lookup(request, layer, head, token_pos):
            return f"lookup {request:#x} {layer} {head} {token_pos}"
        case cmd.Touch(request, layer, head, token_pos, hint):
            return f"lookup {request:#x} {layer} {head} {token_pos} --touch{_hint(hint)}"
        case cmd.Score(request, layer, head, token_pos, slot, flags, hint):
            what = ("", " --exp")[flags] if flags <= cmd.NUMERATORS else f" --flags {flags:#x}"
            return f"score {request:#x} {layer} {head} {token_pos} --slot {slot}{what}{_hint(hint)}"
        case cmd.Class(addr, length, class_id, base, shift):
            return f"class {addr:#x} {length:#x} --class {class_id} --base {base} --shift {shift}"
        case cmd.ShareIndex(index):
            return f"reg write RTBD_SHARE {index}"
        case cmd.ReleaseIndex(index):
            return f"reg write RTBD_RELEASE {index}"
        case cmd.Set("STRICT", value):
            return f"config --strict {value}"
        case cmd.Set("CLEAR_COUNTERS"):
            return "config --clear-counters"
        case cmd.Set(setting, value):
            return f"reg write {setting} {value:#x}"
    raise TypeError(f"not a command: {command!r}")
