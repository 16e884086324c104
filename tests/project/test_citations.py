"""Every citation leads somewhere: rules and sections to docs/device-contract.md, decisions to docs/decisions, links to files.

    R12, test_r12_…      the rule's anchor in the contract
    contract section 8   the section's anchor there
    D4                   the page docs/decisions/D04-….md

A rule that the contract marks as not built yet must not be cited by code: whoever builds it takes the mark away.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists())
CONTRACT, DECISIONS = ROOT / "docs" / "device-contract.md", ROOT / "docs" / "decisions"
CODE = ("host", "fpga", "scripts", "driver", "tests")
SKIPPED = {"build", "obj_dir", "sim_build", "__pycache__", "constraints", Path(__file__).name}
"""What tools leave behind, names of FPGA pins, which look like rules, and this file, with wrong citations for the checker."""

ANCHOR = re.compile(r'<a id="(r\d+|section-\d+b?)"></a>')
NOT_BUILT = re.compile(r'<a id="r(\d+)"></a>\*\*R\d+\*\* \*\(not built yet\)\*')
RULE = re.compile(r"\bR(\d{1,2})\b|\btest_r(\d{1,2})_")
DECISION = re.compile(r"\bD(\d{1,2})\b")
SECTIONS = re.compile(r"\b[Cc]ontract\s+sections?\s+(\d+b?(?:(?:,| to| and)+ \d+b?)*)")
PAGE_NAME = re.compile(r"D(\d\d)-[a-z0-9-]+\.md")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PICTURE = re.compile(r'"image/png": "[^"]+"')
"""In a notebook; letters and numbers by chance."""
PATH = re.compile(r"(?<![\w/.:])docs/[\w./-]*\w")


class Law:
    """What can be cited: the contract's anchors, and decisions by their number."""

    def __init__(self, contract: str, page_names: Iterable[str]):
        self.anchors = Counter(ANCHOR.findall(contract))
        self.not_built = {int(number) for number in NOT_BUILT.findall(contract)}
        self.pages = Counter(int(name[1]) for name in map(PAGE_NAME.fullmatch, page_names) if name)

    def unresolved(self, text: str) -> list[str]:
        """The citations of a text that lead nowhere."""
        wrong = [f"R{number}" for number in rules(text) if f"r{number}" not in self.anchors]
        wrong += [f"D{number}" for number in map(int, DECISION.findall(text)) if number not in self.pages]
        wrong += [f"contract section {name}" for name in sections(text) if f"section-{name}" not in self.anchors]
        return wrong

    def cited_before_built(self, text: str) -> list[str]:
        return [f"R{number}" for number in rules(text) if number in self.not_built]

    def ambiguous(self) -> list[str]:
        """Anchors and decision numbers that are given more than once."""
        twice = [name for name, count in self.anchors.items() if count > 1]
        return twice + [f"D{number}" for number, count in self.pages.items() if count > 1]


def rules(text: str) -> list[int]:
    return [int(word or test) for word, test in RULE.findall(text)]


def sections(text: str) -> list[str]:
    return [name for names in SECTIONS.findall(text) for name in re.findall(r"\d+b?", names)]


def texts(*folders: str) -> Iterator[tuple[Path, str]]:
    """Path and content of each text file."""
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*"))):
        if path.is_file() and not SKIPPED & set(path.parts[len(ROOT.parts) :]):
            try:
                yield path, PICTURE.sub("", path.read_text("utf-8"))
            except UnicodeDecodeError:
                continue


def pages() -> list[Path]:
    """All pages for people."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(page: str) -> set[str]:
    """What a link to this page may have behind its #: ids, and headings as GitHub and mkdocs name them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    names = (re.sub(r"[^\w\- ]", "", re.sub(r"<[^>]*>", "", heading).lower()) for heading in headings)
    return {name.strip().replace(" ", "-") for name in names} | set(re.findall(r'id="([^"]+)"', page))


def broken_links(path: Path, page: str) -> list[str]:
    """Links of a page to a file or an anchor that is not there."""
    broken = []
    for link in LINK.findall(page):
        name, _, anchor = link.partition("#")
        target = path.parent / name
        if "://" in link:
            continue
        if name and not target.exists():
            broken.append(link)
        elif anchor and anchor not in anchors(target.read_text("utf-8") if name else page):
            broken.append(link)
    return broken


def reachable(start: Path) -> set[Path]:
    """The files that links lead to from one page, directly or over others."""
    seen, pending = set(), [start.resolve()]
    while pending:
        page = pending.pop()
        if page in seen:
            continue
        seen.add(page)
        if page.suffix == ".md":
            names = (link.partition("#")[0] for link in LINK.findall(page.read_text("utf-8")) if "://" not in link)
            pending += [target for name in names if name and (target := (page.parent / name).resolve()).is_file()]
    return seen


@pytest.fixture(scope="module")
def law() -> Law:
    return Law(CONTRACT.read_text("utf-8"), (path.name for path in DECISIONS.glob("D*")))


def findings(check, *folders: str) -> dict[str, list[str]]:
    """By file, what `check` finds in its text."""
    found = {str(path.relative_to(ROOT)): check(text) for path, text in texts(*folders)}
    return {path: wrong for path, wrong in found.items() if wrong}


# ---- the repository ----------------------------------------------------------------------------------------------------
def test_every_citation_resolves(law):
    assert not findings(law.unresolved, *CODE, "docs")


def test_the_pages_beside_docs_cite_what_exists(law):
    assert not {path.name: wrong for path in pages() if (wrong := law.unresolved(path.read_text("utf-8")))}


def test_code_cites_no_rule_that_is_marked_as_not_built(law):
    assert not findings(law.cited_before_built, *CODE)


def test_every_rule_has_one_anchor_and_every_decision_one_number(law):
    contract = CONTRACT.read_text("utf-8")
    assert not law.ambiguous()
    for anchor, label in re.findall(r'<a id="r(\d+)"></a>\*\*R(\d+)\*\*', contract):
        assert anchor == label
    starts = re.findall(r"^- (?:<a.*?</a>)?\W*R(\d+)", contract, re.MULTILINE)
    assert sorted(f"r{number}" for number in starts) == sorted(name for name in law.anchors if name.startswith("r"))


def test_decisions_have_their_number_in_the_name_and_a_line_in_the_index():
    index = (DECISIONS / "README.md").read_text("utf-8")
    names = sorted(path.name for path in DECISIONS.iterdir() if path.name != "README.md")
    assert [name for name in names if not PAGE_NAME.fullmatch(name)] == []
    assert [link for link in LINK.findall(index) if PAGE_NAME.fullmatch(link)] == names
    for number, target in re.findall(r"\[D(\d+)\]\(D(\d\d)-", index):
        assert int(number) == int(target)


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(path):
    assert not broken_links(path, path.read_text("utf-8"))


def test_every_page_is_reached_from_the_readme():
    assert [str(path.relative_to(ROOT)) for path in pages() if path not in reachable(ROOT / "README.md")] == []


def test_the_readme_itself_links_what_lies_in_docs():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall((ROOT / "README.md").read_text("utf-8"))}
    assert {path.name for path in (ROOT / "docs").iterdir() if path.is_file() and path not in linked} == set()


def test_code_names_no_page_of_docs_that_is_gone():
    assert not findings(lambda text: [name for name in PATH.findall(text) if not (ROOT / name).exists()], *CODE, "docs")


# ---- the checker -------------------------------------------------------------------------------------------------------
SMALL = Law(
    '## <a id="section-4"></a>4. Commands\n- <a id="r5"></a>**R5** one\n- <a id="r12"></a>**R12** *(not built yet)* two\n',
    ["D01-errors.md", "D14-late.md", "README.md"],
)


@pytest.mark.parametrize("good", [
    "no citation", "(R5, D1)", "R12's rule", "contract R5", "contract section 4", "Contract\n    sections 4 and 4: R5..R12",
    "R=255, F", "D=255 if prefix", "16'hD9", "0xD7", "VR99", "R_99", "D85A", "def test_r5_first(): D14",
])  # fmt: skip
def test_the_checker_takes(good):
    assert SMALL.unresolved(good) == []


@pytest.mark.parametrize(("bad", "found"), [
    ("see R9", ["R9"]), ("(R5, R6..R12)", ["R6"]), ("def test_r7_x", ["R7"]), ("decision D2.", ["D2"]), ("R5-R8", ["R8"]),
    ("contract section 5", ["contract section 5"]), ("contract sections 4 to 6", ["contract section 6"]),
    ("contract section 4b", ["contract section 4b"]),
])  # fmt: skip
def test_the_checker_refuses(bad, found):
    assert SMALL.unresolved(bad) == found


def test_the_checker_sees_what_is_given_twice():
    twice = Law('<a id="r5"></a> <a id="r5"></a> <a id="section-4"></a>', ["D07-a.md", "D07-b.md", "D08-c.md"])
    assert twice.ambiguous() == ["r5", "D7"]


def test_the_checker_sees_what_is_cited_before_it_is_built():
    assert SMALL.cited_before_built("R5 and R12") == ["R12"]


def test_the_checker_sees_broken_links(tmp_path):
    (tmp_path / "there.md").write_text('# A heading, with commas\n<a id="spot"></a>')
    page = "[1](there.md) [2](there.md#a-heading-with-commas) [3](there.md#spot) [4](#here) [5](https://example.org/x)\n## Here"
    assert broken_links(tmp_path / "page.md", page) == []
    gone = ["gone.md", "there.md#gone", "#gone"]
    assert broken_links(tmp_path / "page.md", " ".join(f"[x]({link})" for link in gone)) == gone


def test_the_checker_follows_links_over_pages(tmp_path):
    (tmp_path / "README.md").write_text("[a](docs/a.md#spot) [x](https://example.org/gone.md)")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("[back](../README.md) [b](b.html)")
    for name in ("b.html", "alone.md"):
        (tmp_path / "docs" / name).write_text("")
    found = reachable(tmp_path / "README.md")
    assert {str(path.relative_to(tmp_path.resolve())) for path in found} == {"README.md", "docs/a.md", "docs/b.html"}
