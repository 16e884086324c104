"""Completion in bash, for words with a colon: targets, generated traces, policies.

bash hands a completion function words that end at each character of COMP_WORDBREAKS, so that `--target uart:/dev/tty` arrives as
three, and puts what it is given in place of the last one alone. Here the script passes on the line up to the cursor, which is
split as a shell splits it, and what stands before the last colon is left out of the answers. click's own script knows neither;
it also offers no names where files may stand too (click.shell_completion.BashComplete).

Imported where a shell asks, and by `kvfpga completion`: importing it tells click.
"""

from __future__ import annotations

import os
from typing import Any

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

SCRIPT = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
        plain)
            COMPREPLY+=("$value")
            [[ $value == *[:/] ]] && compopt -o nospace ;;
        dir | file)
            compopt -o filenames
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -A "${type/dir/directory}" -- "$value") ;;
        esac
    done < <(COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


@add_completion_class
class ByLine(BashComplete):
    """`COMP_WORDS` is the line up to the cursor."""

    source_template = SCRIPT

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split_arg_string(os.environ["COMP_WORDS"] + "|")  # so that the last word is there though nothing of it is typed
        typed = words.pop()[:-1]
        self._before = typed[: typed.rfind(":") + 1] if ":" in os.environ.get("COMP_WORDBREAKS", "") else ""
        return words[1:], typed

    def format_completion(self, item: CompletionItem[Any]) -> str:
        value = item.value if item.type != "plain" else str(item.value).removeprefix(self._before)
        return f"{item.type},{value}"
