"""`python -m kvfpga` is the command `kvfpga`."""

from .cli.main import main

if __name__ == "__main__":
    main()
