"""Open the lab's report in headless Chromium, and look at what a parser cannot see.

    python -m scripts.report_in_browser DIR/report.html [--shot FILE.png] [--width 1280]

No name can be looked up meanwhile. Told are texts of a picture that lie on each other, texts too small to read, a page or table
wider than its room, and what the page tried to load. Exit code 1 where there is any of it. `--shot` keeps a picture of the whole
page. It needs a browser (Debian: chromium), which is why no test does this; tests/lab/test_report.py looks at the same labels as
matplotlib sees them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LEAST_PIXELS = 9
LOOK = """
<script>
const told = [], least = %d;
for (const svg of document.querySelectorAll('svg')) {
  const boxes = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim()).map(t => [t, t.getBoundingClientRect()]);
  boxes.forEach(([text, box], n) => {
    const size = parseFloat(getComputedStyle(text).fontSize) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    if (size < least) told.push(`${svg.id}: "${text.textContent}" is ${size.toFixed(1)} pixels high`);
    for (const [other, its] of boxes.slice(0, n))
      if (box.left + 1 < its.right && its.left + 1 < box.right && box.top + 2 < its.bottom && its.top + 2 < box.bottom)
        told.push(`${svg.getAttribute('aria-label')}: "${text.textContent}" lies on "${other.textContent}"`);
  });
}
const page = document.scrollingElement;
if (page.scrollWidth > innerWidth) told.push(`the page is ${page.scrollWidth} pixels wide, the window ${innerWidth}`);
for (const part of document.querySelectorAll('.wide'))
  if (part.scrollWidth > part.clientWidth) told.push(`a table is ${part.scrollWidth} pixels wide, its room ${part.clientWidth}`);
for (const entry of performance.getEntriesByType('resource')) told.push(`loaded ${entry.name}`);
document.body.insertAdjacentHTML('beforeend', '<pre id="told"></pre>');
document.getElementById('told').textContent = JSON.stringify({told, texts: document.querySelectorAll('svg text').length,
                                                              pictures: document.querySelectorAll('svg').length,
                                                              height: page.scrollHeight});
</script>
"""


def browse(browser: str, page: Path, width: int, *options: str) -> str:
    """What the browser prints about the page."""
    common = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *common, f"--user-data-dir={profile}", f"--window-size={width},1000", *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def look(browser: str, page: Path, width: int) -> dict:
    """{told, texts, pictures, height}, from a script in a copy of the page."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(page.read_text().replace("</body>", LOOK % LEAST_PIXELS + "</body>"))
        found = re.findall(r'<pre id="told">(\{.*?)</pre>', browse(browser, copy, width, "--dump-dom"), re.S)
    if not found:
        raise SystemExit("report_in_browser: the browser did not come to the end of the page")
    return json.loads(unescape(found[-1]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--shot", type=Path, help="keep a picture of the whole page")
    parser.add_argument("--width", type=int, default=1280, help="of the window, in pixels")
    options = parser.parse_args()
    if not options.page.is_file():
        parser.error(f"{options.page}: no such file; `kvfpga lab report DIR` writes DIR/report.html")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("report_in_browser: there is no Chromium here (Debian: apt-get install chromium)")
    page = options.page.resolve()
    found = look(browser, page, options.width)
    print(f"{found['pictures']} pictures, {found['texts']} texts in them; {options.width} by {found['height']} pixels")
    if options.shot:
        size = f"--window-size={options.width},{found['height']}"
        browse(browser, page, options.width, f"--screenshot={options.shot.resolve()}", size)
    for line in found["told"]:
        print(line)
    return int(bool(found["told"]))


if __name__ == "__main__":
    sys.exit(main())
