"""The site of the pages: built strictly, whole, and with nothing that a reader would have to fetch from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from kvfpga.cli.main import cli
from tests.helpers.places import DOCS, ROOT

FETCHED = re.compile(r'<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)="?(https?:[^" >]*)')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    plain = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=plain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout  # a link, an anchor or a page of the navigation that is not there, too
    return folder


def test_every_page_is_in_it(site):
    sources = [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
    pages = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in sources}
    pages = {name.replace("README.html", "index.html") for name in pages}
    there = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    more = {"404.html", "index.html", "CONTRIBUTING.html", "CHANGELOG.html", "commands.html", "registers.html"}
    assert there == pages | more


def test_the_register_map_is_as_it_was_generated(site):
    assert (site / "registers.html").read_bytes() == (DOCS / "registers.html").read_bytes()


def test_all_commands_are_in_it(site):
    text = (site / "commands.html").read_text("utf-8")
    headings = set(re.findall(r'<h3 id="kvfpga-([\w-]+)"', text))
    assert set(cli.list_commands(None)) <= headings


def test_lists_are_lists(site):
    """Not a paragraph with dashes in it."""
    run_on = re.compile(r"<p>(?:(?!</p>).)*?\n(?:-|\d+\.) .*?</p>", re.S)
    pages = [path for path in site.rglob("*.html") if path.name != "registers.html"]
    found = {path.name: run_on.findall(path.read_text("utf-8"))[:1] for path in pages}
    assert {name: texts for name, texts in found.items() if texts} == {}
    assert "<li>A score is exact" in (site / "cli.html").read_text("utf-8")


def test_a_notebook_is_a_page_with_its_pictures(site):
    page = site / "notebooks" / "why-t1-fills.html"
    text = page.read_text("utf-8")
    pictures = re.findall(r'<img\b[^>]*\bsrc="([^"]+)"', text)
    assert len(pictures) == 2 and all((page.parent / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert 'href="../device-contract.html#r46"' in text
    assert 'href="notebooks/why-t1-fills.html"' in (site / "python.html").read_text("utf-8")


def test_nothing_is_fetched_from_elsewhere(site):
    found = {path.name: FETCHED.findall(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert {name: addresses for name, addresses in found.items() if addresses} == {}


def test_links_that_would_leave_the_site_are_text(site):
    text = (site / "decisions" / "D31-contest.html").read_text("utf-8")
    assert "kvcpu_contest" in text and "kvcpu_contest.sv" not in text
