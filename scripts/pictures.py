"""Draw the pictures of docs/pictures: `kvfpga top` on a small terminal, in the panes that a page shows.

    python -m scripts.pictures [--out DIR] [--size 80x24]

What is shown is the reference model with 200 blocks of two classes under the ranked policy, and a tier 1 of 64. Textual draws the
SVG; its links to fonts elsewhere are left out, so a reader's own monospaced font is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kvfpga.contract import extras
from kvfpga.monitor.look import Watch, change
from kvfpga.monitor.view import View
from kvfpga.session.session import Session
from kvfpga.targets.target import parse_target

try:
    from kvfpga.monitor.screen import Top
except ModuleNotFoundError as missing:
    raise extras.lacking("pictures", "top", missing) from None

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
PANES = {"top-overview": "1", "top-classes": "3"}
"""Names of the pictures, and the keys that lead there."""
FONT = re.compile(r"\s*@font-face \{.*?\}", re.S)


def views(folder: Path) -> list[View]:
    """Two looks at a session in `folder`, between which a few steps went by."""
    target = parse_target("model", 1024)
    watch = Watch(target, folder)
    with Session(target, folder) as session:
        device = session.open()
        device.set(T1_CAPACITY=64)
        codes = np.zeros((device.model.classes, 64), np.uint8)
        codes[0], codes[7] = 100 - np.arange(64), 255 - 3 * np.arange(64)
        device.ranked(codes, fill_age=200)
        for n in range(200):
            device.load(1 + n // 50, n % 50, 0, (0, 31), 0x1000_0000 + n * device.block_bytes, class_id=7 * (n % 2), order=n)
        device.step(50)
        session.save()
    first = watch.look(10)
    with Session(target, folder) as session:
        device = session.open()
        for step in range(51, 60):
            for layer in range(20):
                device.lookup(1 + step % 4, layer, 0, 5, touch=True)
            device.step(step)
        session.save()
    second = watch.look(10)
    assert first and second  # nobody else has the session
    return [View(first, None, 1.0), View(second, change(first, second), 1.0)]


def drawn(shown: list[View], key: str, size: tuple[int, int]) -> str:
    """The screen behind a key, as SVG."""
    stop = threading.Event()

    def looks() -> Iterator[View]:
        yield from shown
        stop.wait()

    async def run() -> str:
        app = Top(looks(), stop)
        async with app.run_test(size=size) as pilot:
            while app.view is not shown[-1]:
                await pilot.pause(0.01)
            await pilot.press(key)
            await pilot.pause(0.5)
            picture = app.export_screenshot(title="kvfpga top")
            stop.set()
            return picture

    return FONT.sub("", asyncio.run(run()))


def size(text: str) -> tuple[int, int]:
    """Columns and rows, from `80x24`."""
    if not (found := re.fullmatch(r"([1-9]\d{1,2})x([1-9]\d?)", text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size of a terminal, such as 80x24")
    return int(found[1]), int(found[2])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/pictures.")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--size", type=size, default="80x24", metavar="COLUMNSxROWS")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shown = views(Path(folder))
        for name, key in PANES.items():
            (given.out / f"{name}.svg").write_text(drawn(shown, key, given.size), "utf-8")


if __name__ == "__main__":
    main()
