"""Directory entries as BAR2 shows them, taken apart (contract sections 3 and 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.entry import DUMP_FIELDS, FLAGS
from .regmap import ENTRY_FIELDS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decode_entries(raw: NDArray[np.uint32]) -> dict[str, NDArray[np.uint64]]:
    """Every field of contract section 3 by name, uint64[n] each, from uint32[n, 8] as BAR2 shows them."""
    words = np.ascontiguousarray(raw, "<u4").reshape(-1, 8).view("<u8")
    fields = {}
    for name, (low, width) in ENTRY_FIELDS.items():
        word, shift = divmod(low, 64)
        value = words[:, word] >> np.uint64(shift)
        if shift + width > 64:
            value |= words[:, word + 1] << np.uint64(64 - shift)
        fields[name] = value & np.uint64((1 << width) - 1)
    return fields


def dump_entries(raw: NDArray[np.uint32], vas: NDArray[np.uint64], first: int = 0) -> list[dict[str, Any]]:
    """The valid ones of the entries `first`, `first` + 1, … as contract section 8 prints them."""
    fields = decode_entries(raw)
    rows = np.flatnonzero(fields["valid"])
    fields["va"] = vas
    columns = [(rows + first).tolist()]
    for name in DUMP_FIELDS:
        column = fields[name][rows]
        columns.append((column != 0).tolist() if name in FLAGS else column.tolist())
    return [dict(zip(("index", *DUMP_FIELDS), values)) for values in zip(*columns)]
