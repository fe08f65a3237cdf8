"""The command completion: scripts that complete commands, options and their values in a shell."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from msgspec import Struct


class Shell(enum.StrEnum):
    """Shells that the scripts are for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


class _Option(Struct):
    """``names`` are its spellings; ``values`` its choices, if there are few. ``flag``: it takes no value."""

    names: list[str]
    help: str
    flag: bool
    values: list[str]


class _Command(Struct):
    name: str
    help: str
    options: list[_Option]
    values: list[str]
    """What its arguments may be; empty: files."""


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print a script that completes commands, options and values in a shell.

    bash: add `eval "$(fractal-dsl completion bash)"` to ~/.bashrc. zsh: add `eval "$(fractal-dsl completion zsh)"` to
    ~/.zshrc, after `compinit`. fish: `fractal-dsl completion fish > ~/.config/fish/completions/fractal-dsl.fish`.
    """
    commands = _commands()
    sys.stdout.write({Shell.bash: _bash, Shell.zsh: _zsh, Shell.fish: _fish}[shell](commands))


def _commands() -> list[_Command]:
    """Every command with its options, as the command line itself reads them."""
    from fractal_dsl.cli.app import app
    from fractal_dsl.language.diagnostics import CODES

    group: Any = typer.main.get_command(app)
    commands: list[_Command] = []
    for name in group.commands:
        command = group.get_command(None, name)
        options = [_option(p) for p in command.params if p.opts[0].startswith("-") and not p.hidden]
        options.append(_Option(["--help"], "Show help and exit", True, []))
        arguments = [p for p in command.params if not p.opts[0].startswith("-")]
        values = [value for p in arguments for value in _choices(p)] + list(CODES) * (name == "explain")
        commands.append(_Command(name, _line(command.help), options, values))
    return commands


def _option(param: Any) -> _Option:
    flag = bool(param.is_flag)
    return _Option([*param.opts, *param.secondary_opts], _line(param.help or ""), flag, [] if flag else _choices(param))


def _choices(param: Any) -> list[str]:
    """The values of a parameter that takes one of a few, in this version of Typer or an earlier one."""
    kind: Any = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [str(member.value) for member in kind]
    return [str(choice) for choice in getattr(getattr(param, "type", None), "choices", None) or ()]


def _line(text: str) -> str:
    """The first sentence of a help text, without the signs that a shell would read."""
    first = " ".join(text.split()).partition(". ")[0].rstrip(".")
    return "".join(c for c in first.replace("'", "’").replace(":", " -") if c not in '"`$\\')


def _bash(commands: list[_Command]) -> str:
    cases: list[str] = []
    for command in commands:
        values = [f"{'|'.join(o.names)}) words='{' '.join(o.values)}' ;;" for o in command.options if o.values]
        files = [f"{'|'.join(n for o in command.options if not o.flag and not o.values for n in o.names)}) files=1 ;;"]
        names = " ".join(name for option in command.options for name in option.names)
        rows = "\n".join(f"          {row}" for row in [*values, *[f for f in files if not f.startswith(")")]])
        cases.append(
            f"      {command.name})\n        options='{names}'; values='{' '.join(command.values)}'\n"
            f'        case "$before" in\n{rows}\n        esac ;;'
        )
    names = " ".join(command.name for command in commands)
    return f"""\
_fractal_dsl() {{
  local word="$2" before="$3" command="${{COMP_WORDS[1]}}" options='' values='' words='' files=''
  COMPREPLY=()
  # bash reads --theme=dark as three words
  if [ "$word" = = ]; then word=''; elif [ "$before" = = ]; then before="${{COMP_WORDS[COMP_CWORD - 2]}}"; fi
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{names} --help --version' -- "$word"))
    return
  fi
  case "$command" in
{chr(10).join(cases)}
  esac
  if [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  elif [ -z "$files" ] && [ "${{word:0:1}}" = - ]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  elif [ -z "$files" ] && [ -n "$values" ]; then
    COMPREPLY=($(compgen -W "$values" -- "$word"))
  fi
}}
complete -o bashdefault -o default -F _fractal_dsl fractal-dsl
"""


def _zsh(commands: list[_Command]) -> str:
    listed = "\n".join(f"    '{command.name}:{command.help}'" for command in commands)
    cases: list[str] = []
    for command in commands:
        helps = [o.help.replace("[", "\\[").replace("]", "\\]") for o in command.options]
        rows = [
            f"'*{name}[{help}]{_zsh_value(o)}'"
            for o, help in zip(command.options, helps, strict=True)
            for name in o.names
        ]
        rows.append(f"'*:value:({' '.join(command.values)})'" if command.values else "'*:file:_files'")
        arguments = " \\\n        ".join(rows)
        cases.append(f"    {command.name})\n      _arguments \\\n        {arguments} ;;")
    return f"""\
#compdef fractal-dsl
_fractal_dsl() {{
  local -a commands
  commands=(
{listed}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command="$words[2]"
  shift words
  (( CURRENT-- ))
  case "$command" in
{chr(10).join(cases)}
  esac
}}
compdef _fractal_dsl fractal-dsl
"""


def _zsh_value(option: _Option) -> str:
    if option.flag:
        return ""
    return f":value:({' '.join(option.values)})" if option.values else ":value:_files"


def _fish(commands: list[_Command]) -> str:
    lines = [f"complete -c fractal-dsl -n __fish_use_subcommand -f -a {c.name} -d '{c.help}'" for c in commands]
    for command in commands:
        of = f"complete -c fractal-dsl -n '__fish_seen_subcommand_from {command.name}'"
        if command.values:
            lines.append(f"{of} -f -a '{' '.join(command.values)}'")
        for option in command.options:
            lines.append(f"{of} {_fish_names(option.names)}{_fish_value(option)} -d '{option.help}'")
    return "\n".join(lines) + "\n"


def _fish_names(names: Iterable[str]) -> str:
    return " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in names)


def _fish_value(option: _Option) -> str:
    if option.flag:
        return ""
    return f" -x -a '{' '.join(option.values)}'" if option.values else " -r"
