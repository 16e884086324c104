"""Ctrl-C in a script that takes long: a line and exit code 130, as of `kvfpga`, and no traceback.

    sys.exit(interruptible(main))
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def interruptible(main: Callable[[], int]) -> int:
    try:
        return main()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        from kvfpga.cli.ending import INTERRUPTED  # only here: what is imported before coverage measures counts as never run

        return INTERRUPTED
