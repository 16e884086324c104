"""A board file that comes with a package."""

from pathlib import Path

FILE = Path(__file__).parent / "example-board.yaml"
