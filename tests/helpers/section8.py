"""Contract section 8 as a check: is this JSON object what `kvfpga --json` must print for that command?"""

from __future__ import annotations

RESULT = {
    "command": str,
    "code": str,
    "matched": int,
    "index": (int, type(None)),
    "cycles": int,
    "triggers": list,
    "checked": bool,
}
TRIGGER = {"index": int, "channel": str, "from": int, "to": int}
LOOKUP = RESULT | {"hit": bool, "tier": (int, type(None)), "phys_addr": (int, type(None))}
SCORE = RESULT | {
    "score_bits": (list, type(None)), "exp_bits": (list, type(None)), "max_bits": (int, type(None)),
    "sum_bits": (int, type(None)), "tier": (int, type(None)), "phys_addr": (int, type(None)),
}  # fmt: skip
ENTRY = {
    "index": int, "request_id": int, "layer": int, "head": int, "token_start": int, "token_end": int, "tier": int,
    "phys_addr": int, "va": int, "priority": int, "access_step": int, "ref_count": int, "prefix": bool,
    "dirty": bool, "R": int,
    "F": int, "pinned": bool, "inflight": bool, "armed": bool, "class": int,
    "order": int,
}  # fmt: skip
TELEMETRY = [
    "current_step", "step_count", "hot_count", "evict_count", "prefetch_count", "share_count", "last_va", "last_len",
    "last_target_step",
]  # fmt: skip
EXACT = ("step", "hot", "evict", "prefetch", "share", "release", "unload", "load", "lookup", "class", "score")
CODES = (
    "OK", "ERR_LEN", "ERR_NOT_FOUND", "ERR_EXISTS", "ERR_FULL", "ERR_RANGE", "ERR_STEP_ORDER", "ERR_NOT_RESIDENT",
    "ERR_NOT_EMPTY", "ERR_UNSUPPORTED", "ERR_MEMORY"
)  # fmt: skip


def has(found: dict, shape: dict, exact: bool = True) -> None:
    """The keys of `shape`, in its order, with values of its types; nothing else, where `exact`."""
    names = list(found) if exact else list(found)[: len(shape)]
    assert names == list(shape), f"keys {names}, not {list(shape)}"
    for name, kind in shape.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        assert type(found[name]) in kinds, f"{name} is {found[name]!r}"


def at_least(found: object, wanted: object) -> bool:
    """Does `found` say all that `wanted` does? Objects may have more keys, such as those of later editions."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(name in found and at_least(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(at_least, found, wanted))
    return found == wanted


def check(line: str, found: dict) -> None:
    """`found` is what the command `line` printed."""
    command = line.split()[0]
    if command == "telemetry":
        assert list(found)[: len(TELEMETRY)] == TELEMETRY
        assert {type(value) for value in found.values()} == {int}
        return
    if command == "dump":
        has(found, {"entries": list})
        for entry in found["entries"]:
            has(entry, ENTRY)
        assert [e["index"] for e in found["entries"]] == sorted({e["index"] for e in found["entries"]})
        return
    assert found["command"] == command
    assert found["code"] in CODES
    if command not in EXACT:
        return
    has(found, {"lookup": LOOKUP, "score": SCORE}.get(command, RESULT))
    for trigger in found["triggers"]:
        has(trigger, TRIGGER)
        assert trigger["channel"] in ("evict", "prefetch")
    if command == "score":
        _check_score(found)
    elif found["code"] != "OK":
        assert (found["matched"], found["index"], found["triggers"]) == (0, None, [])
    if command in ("load", "lookup", "score"):
        assert found["matched"] == (found["index"] is not None)


def _check_score(found: dict) -> None:
    """R30, R37: a block that is not in tier 1 is named all the same; scores are there for all rows, or not at all."""
    scores, exps = found["score_bits"], found["exp_bits"]
    assert (scores is not None) == (found["code"] == "OK")
    assert (exps is None) == (found["max_bits"] is None) == (found["sum_bits"] is None)
    assert exps is None or len(exps) == len(scores)
    assert {type(bits) for bits in (scores or [])} <= {int}
    if found["code"] not in ("OK", "ERR_NOT_RESIDENT", "ERR_MEMORY"):
        names = ("matched", "index", "triggers", "tier", "phys_addr")
        assert [found[name] for name in names] == [0, None, [], None, None]
