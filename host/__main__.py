"""`python -m kvfpga` is the command `kvfpga`, and so is the script of that name.

Ctrl-C while it is still imported ends it without a word; from then on main.py says what was interrupted.
"""

import signal

before = signal.getsignal(signal.SIGINT)
if before is signal.default_int_handler:  # not where whoever started it has it ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from .cli.main import main  # noqa: E402

signal.signal(signal.SIGINT, before)

if __name__ == "__main__":
    main()
