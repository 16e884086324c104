"""Where things are in the checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = ROOT / "host"
DOCS = ROOT / "docs"
DATA = ROOT / "tests" / "data"
