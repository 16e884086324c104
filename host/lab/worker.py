"""A process that computes cells: `python -m kvfpga.lab.worker` takes a JSON line a cell and answers each with one.

    {"stream": FILE, "digest": …, "policy": "mq", "capacity": 4096, "options": {…}, "generated": false, "timeout": 900}
    {"cell": {…}, "samples": {"step": […], …} or null}     or     {"error": "…", "remedy": "…"}

A process of its own, because a policy that does not come to an end can only be killed, one that crashes takes its process along,
and libcachesim's random numbers begin anew in a new one. It ends with the process that started it, however that ends, and by
SIGPROF once a cell has had `timeout` seconds of processor time, reading the trace and learning included.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.errors import KvfpgaError
from . import stream_files
from .measure import Laboratory
from .policies import contenders
from .policies.contender import Options

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent = int(sys.argv[1])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had gone before it was said
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        laboratory = Laboratory()
        for line in sys.stdin:
            asked = json.loads(line)
            signal.setitimer(signal.ITIMER_PROF, asked["timeout"] or 0)
            found = answer(laboratory, asked)
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(json.dumps(found), file=answers, flush=True)


def answer(laboratory: Laboratory, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        measured = laboratory.measure(
            _stream(asked["stream"]), contenders.named(asked["policy"]), asked["capacity"], Options(**asked["options"]),
            asked["digest"], asked["generated"],
        )  # fmt: skip
    except KvfpgaError as error:
        return {"error": error.message, "remedy": error.remedy}
    except MemoryError:
        return {"error": "there is not enough memory", "remedy": "use a smaller --limit, or fewer --jobs"}
    samples = measured.samples and {name: np.asarray(values).tolist() for name, values in measured.samples.items()}
    return {"cell": measured.cell.to_json(), "samples": samples}


@lru_cache(maxsize=1)  # a run goes trace by trace, and the largest take hundreds of MiB
def _stream(path: str) -> Any:
    return stream_files.load(Path(path))


if __name__ == "__main__":
    main()
