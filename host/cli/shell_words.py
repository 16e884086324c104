"""What the shell of `kvfpga shell` offers at the TAB key: what the user's own shell would be offered by click."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from click.shell_completion import ShellComplete, split_arg_string
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from .batch import PROGRAM
from .main import cli


class Words(Completer):
    """Words of a command line without `kvfpga` before it. `own`: commands that only the shell has, and what they do."""

    def __init__(self, own: Mapping[str, str]):
        self._own = own
        self._known = ShellComplete(cli, {}, "kvfpga", "")

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        words = split_arg_string(text)
        typed = words.pop() if words and not text[-1:].isspace() else ""
        if words[:1] == [PROGRAM]:  # as people copy it
            words = words[1:]
        if words[:1] == ["help"]:
            words = words[1:]
        elif not words:
            yield from self._offered(self._own.items(), typed)
        elif words[0] in self._own:
            return
        if words or not typed.startswith("-"):  # the options before the command were given to the shell
            for item in self._known.get_completions(words, typed):
                if item.type == "plain":
                    yield from self._offered([(str(item.value), item.help or "")], typed)
                else:
                    yield from _paths(typed, item.type == "dir", complete_event)

    @staticmethod
    def _offered(names: Iterable[tuple[str, str]], typed: str) -> Iterator[Completion]:
        for name, about in names:
            if name.startswith(typed):
                yield Completion(name, -len(typed), display_meta=about)


def _paths(typed: str, folders_only: bool, event: CompleteEvent) -> Iterable[Completion]:
    completer = PathCompleter(only_directories=folders_only, expanduser=True)
    return completer.get_completions(Document(typed, len(typed)), event)
