"""Speed of kvfpga beside the ways it replaces and beside an older commit, all measured in this one run on this machine.

    make bench                                  everything: minutes, and more the first time, when models are built
    python -m scripts.bench --only reads,check  some sections: model, reads, check, process, replay, lab
    python -m scripts.bench --only replay --requests 2000 --replays 1
    python -m scripts.bench --record            also write the ratios down in docs/bench-history.csv
    python -m scripts.bench --json              one JSON object on stdout instead of the table

What is compared takes turns round by round, so that a busy machine is busy for both, and is timed by the processor time of its
process, which on an idle machine is the time that passes. docs/benchmarks.md says how to read what is printed. The exit code is 0
whatever the figures: time is no test.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from kvfpga.cli.ending import complain
from kvfpga.contract.errors import KvfpgaError, UsageError
from scripts import manual
from scripts.interrupt import interruptible

from . import baseline, check, lab, model, output, process, reads, records, replay
from .figures import Report, Say
from .sizes import FULL, QUICK, Sizes
from .workers import Version

SECTIONS: dict[str, Callable[[Sizes, Say, Version], Report]] = {
    "model": model.measure,
    "reads": lambda sizes, say, older: reads.measure(sizes, say),
    "check": check.measure,
    "process": process.measure,
    "replay": replay.measure,
    "lab": lambda sizes, say, older: lab.measure(sizes, say),
}
WITHOUT_BASELINE = ("reads", "lab")


def measure(sizes: Sizes, sections: Sequence[str], older: Version | None, say: Say) -> Report:
    """`older` may be None where no section compares with it."""
    report = Report([], [], ["a quick run on a small device: the figures mean nothing"] if sizes.entries < FULL.entries else [])
    for name in sections:
        for whole, part in zip(report, SECTIONS[name](sizes, lambda text, name=name: say(f"{name}: {text}"), older)):
            whole.extend(part)
    return report


def chosen(text: str) -> list[str]:
    sections = text.split(",")
    for name in sections:
        if name not in SECTIONS:
            raise UsageError(f"there is no section {name!r}", f"sections: {', '.join(SECTIONS)}")
    return sections


def chosen_sizes(options: argparse.Namespace) -> Sizes:
    given = {name: getattr(options, name) for name in ("requests", "replays") if getattr(options, name) is not None}
    for name, value in given.items():
        if value < 1:
            raise UsageError(f"--{name} {value} leaves nothing to measure", "give 1 or more")
    return (QUICK if options.quick else FULL)._replace(**given)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench", description=__doc__, formatter_class=manual.Page
    )
    parser.add_argument("--baseline", default=baseline.COMMIT, metavar="COMMIT", help="the older commit (%(default)s)")
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="SECTION,…", help="these sections")
    parser.add_argument("--requests", type=int, metavar="N", help=f"of the trace, replayed in one round ({FULL.requests})")
    parser.add_argument("--replays", type=int, metavar="N", help=f"rounds of the section replay ({FULL.replays})")
    parser.add_argument("--quick", action="store_true", help="does everything work? The figures mean nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of the table")
    parser.add_argument("--record", action="store_true", help="append the ratios to docs/bench-history.csv")
    options = parser.parse_args(given)
    if options.quick and options.record:
        raise UsageError("a quick run is not recorded: its figures mean nothing", "leave --quick or --record away")
    return options


def run(given: Sequence[str] | None) -> None:
    options = arguments(given)
    sizes, sections = chosen_sizes(options), chosen(options.only)
    recorded = [] if options.quick else records.read()
    commit, processor = records.commit(), records.processor()
    console = Console(stderr=True)
    with console.status("starting") as status:

        def say(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                print(text, file=sys.stderr, flush=True)

        older = None if set(sections) <= set(WITHOUT_BASELINE) else baseline.checkout(options.baseline, say)
        report = measure(sizes, sections, older, say)
    if options.json:
        print(json.dumps(output.as_json(report, recorded, sizes, commit, processor), indent=2))
    else:
        output.show(report, recorded, sizes, commit)
    if options.record:
        count = records.append(report.figures, commit, processor, records.today())
        print(f"{count} ratios written to {records.FILE.relative_to(records.ROOT)}", file=sys.stderr)


def main(given: Sequence[str] | None = None) -> int:
    try:
        run(given)
    except KvfpgaError as error:
        complain(error, "bench")
        return error.exit_code
    return 0


if __name__ == "__main__":
    os.environ.pop("KVFPGA_ASSERTIONS", None)  # they cost time, and older commits have none
    sys.exit(interruptible(main))
