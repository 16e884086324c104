"""What mkdocs does beside what mkdocs.yml says: pages from outside docs/, links that would leave the site, the list of commands.

    python -m mkdocs build --strict     the site, in build/site; a link or an anchor that leads nowhere ends it
    python -m mkdocs serve              the same while pages are written

README.md, CONTRIBUTING.md and CHANGELOG.md become pages, README.md the first one, and so does each notebook, as it was last run
(scripts/notebooks.py). `commands.md` is made of the command line itself by mkdocs-click, so it is in no folder. A link to a
file that the site does not have, such as a module of the RTL, is left as its text, for the project has no public address that
could be linked to. Functions are named as mkdocs calls them (https://www.mkdocs.org/dev-guide/plugins/#events).
"""

from __future__ import annotations

import inspect
import posixpath
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

from kvfpga.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
"""Pages in the root of the checkout, and their names in the site."""
NOTEBOOK = ".ipynb"
COMMANDS = """\
# All commands

As `kvfpga COMMAND --help` says it. What the output means is on [the page of the command line](cli.md).

::: mkdocs-click
    :module: kvfpga.cli.main
    :command: cli
    :prog_name: kvfpga
    :depth: 1
"""
EXAMPLE = re.compile(r"^\x08\n((?:.+\n?)+)", re.M)
ITEM = re.compile(r"(?:[-*]|\d+\.) ")
LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\(([^)\s:]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    with_examples(cli)
    return config


def with_examples(command: click.Command) -> None:
    """Makes blocks of Markdown of the paragraphs that click leaves as they are, such as examples, in all help texts."""
    command.help = EXAMPLE.sub(lambda found: textwrap.indent(found[1], "    "), inspect.cleandoc(command.help or ""))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            with_examples(command.get_command(context, name))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, place in BESIDE.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text("utf-8")))
    files.append(File.generated(config, "commands.md", content=COMMANDS))
    for notebook in [file for file in files if file.src_uri.endswith(NOTEBOOK)]:
        for place, content in pages_of(notebook):
            files.append(File.generated(config, place, content=content))
    return files


def pages_of(notebook: File) -> Iterator[tuple[str, str | bytes]]:
    """The page of a notebook with its outputs, and its pictures, each with its place in the site."""
    folder, name = posixpath.split(notebook.src_uri.removesuffix(NOTEBOOK))
    names = {"unique_key": name, "output_files_dir": "."}
    page, made = MarkdownExporter().from_filename(notebook.abs_src_path, resources=names)
    yield f"{folder}/{name}.md", page
    for picture, content in made["outputs"].items():
        yield posixpath.normpath(f"{folder}/{picture}"), content


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    place = page.file.src_uri
    source = next((name for name, there in BESIDE.items() if there == place), posixpath.join("docs", place))

    def moved(link: re.Match[str]) -> str:
        text, target = link.groups()
        name, mark, anchor = target.partition("#")
        if not name or place == "commands.md":
            return link.group()
        found = in_site(posixpath.normpath(posixpath.join(posixpath.dirname(source), name)))
        if found is None:
            return text
        return f"[{text}]({posixpath.relpath(found, posixpath.dirname(place) or '.')}{mark}{anchor})"

    return LINK.sub(moved, with_lists(markdown))


def with_lists(markdown: str) -> str:
    """An empty line before each list: without one, other readers of Markdown see a list, and Python-Markdown does not."""
    lines, in_code = [""], False
    for line in markdown.splitlines():
        if not in_code and ITEM.match(line) and lines[-1].strip() and not ITEM.match(lines[-1]) and not lines[-1][0].isspace():
            lines.append("")
        in_code ^= line.lstrip().startswith("```")
        lines.append(line)
    return "\n".join(lines[1:])


def in_site(path: str) -> str | None:
    """Where a file of the checkout is in the site; None where it has no place there, but exists. What does not exist is
    left to mkdocs to complain of."""
    if path in BESIDE:
        return BESIDE[path]
    if path.startswith("docs/"):
        path = path.removeprefix("docs/")
        return f"{path.removesuffix(NOTEBOOK)}.md" if path.endswith(NOTEBOOK) else path
    return None if (ROOT / path).exists() else path
