"""Completion in zsh, which puts a space behind what it completes: not behind a colon or a slash, where more is to come, as in
`--target uart:/dev/ttyUSB0`. click's own script puts one there; what it asks and what it is answered is the same here
(click.shell_completion.ZshComplete).

Imported by `kvfpga completion`: importing it tells click.
"""

from __future__ import annotations

from click.shell_completion import ZshComplete, add_completion_class

SCRIPT = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local type value about answer
    local -a whole begun whole_about begun_about
    (( $+commands[%(prog_name)s] )) || return 1
    answer=$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) %(complete_var)s=zsh_complete %(prog_name)s)
    for type value about in "${(@f)answer}"; do
        case $type in
        plain)
            if [[ $about == _ ]]; then
                [[ $value == *[:/] ]] && begun+=("$value") || whole+=("$value")
            else
                [[ $value == *[:/] ]] && begun_about+=("$value:$about") || whole_about+=("$value:$about")
            fi ;;
        dir) _path_files -/ ;;
        file) _path_files -f ;;
        esac
    done
    (( $#whole_about )) && _describe -V unsorted whole_about -U
    (( $#begun_about )) && _describe -V unsorted begun_about -U -S ''
    (( $#whole )) && compadd -U -V unsorted -a whole
    (( $#begun )) && compadd -U -V unsorted -S '' -a begun
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


@add_completion_class
class ByWords(ZshComplete):
    """`COMP_WORDS` are the words of the line, `COMP_CWORD` the number of the one at the cursor."""

    source_template = SCRIPT
