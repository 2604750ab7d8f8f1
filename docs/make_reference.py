"""Write docs/reference/ from the code: `make reference`. With --check it only says what is out of date (a test does).

Nothing here is written by hand but headings: settings, commands, errors, fleet file and API describe themselves.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import typer.main
from pydantic import SecretStr

import hotset
from hotset import errors, fleet, fleet_file
from hotset.cli.main import app
from hotset.settings import Settings

HERE = Path(__file__).resolve().parent / "reference"
MADE = "<!-- Made from the code by `make reference`; do not edit. -->\n\n"


def pages() -> dict[str, str]:
    """File name -> text."""
    made = {
        "settings.md": settings(),
        "commands.md": commands(),
        "errors.md": error_tree(),
        "fleet-file.md": fleet_page(),
        "api.md": api(),
    }
    return {name: MADE + text.rstrip() + "\n" for name, text in made.items()}


def main() -> int:
    stale = [name for name, text in pages().items() if not _same(HERE / name, text)]
    if "--check" in sys.argv[1:]:
        for name in stale:
            sys.stderr.write(f"docs/reference/{name} is out of date: make reference\n")
        return 1 if stale else 0
    HERE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (HERE / name).write_text(text, "utf-8")
    sys.stderr.write(f"docs/reference: {', '.join(stale) or 'nothing'} changed\n")
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


# ---- settings ------------------------------------------------------------------------------------------------------


def settings() -> str:
    meanings = field_comments(Settings)
    hints = typing.get_type_hints(Settings, include_extras=True)
    rows = []
    for field in dataclasses.fields(Settings):
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        shown = "" if default in (None, dataclasses.MISSING) else f"`{default}`"
        rows.append((f"`{field.name}`", shown, _kind(hints[field.name]), meanings[field.name]))
    return (
        "# Settings\n\n"
        "Each may stand in the environment as `HOTSET_` and its name in capitals, or in `hotset.toml` of the working\n"
        "folder (`HOTSET_CONFIG` names another file) as `name = value`. The first of these wins: command line,\n"
        "environment, `hotset.toml`, `running.toml` in the home folder (what `hotset up` left there), the default.\n"
        "`OLLAMA_HOST` is the default of `model_server`. An unknown name is an error that offers the nearest one.\n"
        "`hotset config` shows what is in force.\n\n" + _table(("setting", "default", "kind", "meaning"), rows)
    )


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Annotated:
        kind, *more = typing.get_args(hint)
        limits = [limit for item in more for limit in _limits(item)]
        return ", ".join([_kind(kind), *limits])
    if type(None) in typing.get_args(hint):
        return _kind(next(arg for arg in typing.get_args(hint) if arg is not type(None)))
    if typing.get_origin(hint) is dict:
        return f"table of name = {_kind(typing.get_args(hint)[1])}"
    words = {float: "number", bool: "yes or no", int: "whole number", str: "text", Path: "path", SecretStr: "secret"}
    return words.get(hint, str(hint))


def _limits(item: Any) -> Iterator[str]:
    for limit in getattr(item, "metadata", ()):
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            if hasattr(limit, name):
                yield f"{sign} {getattr(limit, name)}"


def field_comments(cls: type) -> dict[str, str]:
    """Field -> the `#:` comment above it. Every field must have one."""
    source = inspect.getsource(cls)
    lines = source.splitlines()
    found: dict[str, str] = {}
    body = ast.parse(source).body[0]
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above: list[str] = []
        number = node.lineno - 2
        while number >= 0 and lines[number].lstrip().startswith("#:"):
            above.insert(0, lines[number].lstrip().removeprefix("#:").strip())
            number -= 1
        if not above and not node.target.id.startswith("__"):
            raise SystemExit(f"{cls.__name__}.{node.target.id} has no `#:` comment above it")
        found[node.target.id] = " ".join(above)
    return found


# ---- commands ------------------------------------------------------------------------------------------------------


def commands() -> str:
    root = typer.main.get_command(app)
    parts = ["# Commands\n\n```\n" + _help(root) + "\n```\n"]
    parts += [_command(command, words) for words, command in _walk(root, ("hotset",))]
    return "\n".join(parts)


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield (*words, name), child
            yield from _walk(child, (*words, name))


def _help(command: Any) -> str:
    return inspect.cleandoc(command.help or "").replace("\b\n", "").strip()


def _command(command: Any, words: tuple[str, ...]) -> str:
    depth = "##" if len(words) == 2 else "###"
    text = [f"{depth} {' '.join(words)}\n"]
    if hasattr(command, "commands"):
        return "\n".join([*text, _help(command) + "\n"])
    context = command.make_context(" ".join(words), [], resilient_parsing=True)
    usage = " ".join([" ".join(words), *command.collect_usage_pieces(context)])
    explained, example, after = _split(_help(command))
    text += [f"```\n{usage}\n```\n", explained + "\n"]
    if example:
        text += [f"```sh\n{example}\n```\n"]
    if after:
        text += [after + "\n"]
    rows = [row for parameter in command.params if (row := parameter.get_help_record(context)) is not None]
    rows = [(name, meaning) for name, meaning in rows if "--help" not in name]
    if rows:
        table = [(f"`{name}`", " ".join(meaning.split())) for name, meaning in rows]
        text.append(_table(("argument or option", "meaning"), table))
    return "\n".join(text)


def _split(text: str) -> tuple[str, str, str]:
    """A help text: what comes before its examples, the examples, what comes after them."""
    found = re.search(r"^Examples?:", text, re.MULTILINE)
    if found is None:
        return text, "", ""
    block, _, after = text[found.end() :].partition("\n\n")
    return text[: found.start()].strip(), "\n".join(line.strip() for line in block.strip().splitlines()), after.strip()


# ---- errors --------------------------------------------------------------------------------------------------------


def error_tree() -> str:
    tree = inspect.cleandoc(errors.__doc__ or "")
    intro, drawing, end = tree.split("\n\n")
    rows = []
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, errors.HotsetError) and cls.__module__ == errors.__name__:
            said = inspect.cleandoc(cls.__dict__.get("__doc__") or "").split("\n\n")[0].replace("\n", " ")
            again = "yes" if cls.retryable else "no"
            rows.append((f"`{cls.__name__}`", again, str(cls.exit_status), said))
    return (
        f"# Errors\n\n{intro}\n\n```\n{inspect.cleandoc(drawing)}\n```\n\n{end}\n\n"
        "They live in `hotset.errors`. Commands print the message and the remedy to standard error and end with\n"
        "the exit status.\n\n" + _table(("error", "may be retried", "exit status", "more"), rows)
    )


# ---- fleet file ----------------------------------------------------------------------------------------------------


def fleet_page() -> str:
    parts = [
        "# The fleet file\n",
        "GPUs, models and queues, in YAML. `HOTSET_FLEET` (or `fleet` in `hotset.toml`) names it; without one, this is",
        "the fleet, and `hotset init` writes it to a file:\n",
        "```yaml\n" + (files("hotset") / "classic.fleet.yaml").read_text("utf-8").strip() + "\n```\n",
        "Sizes are MiB, times are model seconds (wall seconds ÷ the setting `scale`). What is wrong is said with file,",
        "line and fix; unknown keys are errors.\n",
    ]
    for title, cls, named in (
        ("A GPU", fleet.Gpu, False),
        ("A model", fleet.Model, True),
        ("A queue", fleet.Queue, True),
    ):
        explained = inspect.cleandoc(cls.__doc__ or "").replace("\n", " ")
        rows = []
        for field in dataclasses.fields(cls):
            if named and field.name == "name":
                continue
            needed = field.default is dataclasses.MISSING
            default = "" if needed or field.default is None else f"`{field.default}`"
            example = fleet_file._EXAMPLES[field.name]
            rows.append((f"`{field.name}`", "yes" if needed else "no", default, f"`{example}`"))
        key = "The key is its name. " if named else ""
        parts += [f"## {title}\n", f"{key}{explained}\n", _table(("key", "needed", "default", "example"), rows)]
    most = next(f.default for f in dataclasses.fields(fleet.Fleet) if f.name == "max_wait_s")
    parts += ["## Beside them\n", f"`max_wait_s` (default {most:g}): no job waits longer while capacity allows it.\n"]
    return "\n".join(parts)


# ---- Python API ----------------------------------------------------------------------------------------------------


def api() -> str:
    parts = [
        "# Python API\n",
        "Everything public is a name of the package `hotset`; what is not listed here may change.\n",
        f"```python\n{_example(inspect.cleandoc(hotset.__doc__ or ''))}\n```\n",
    ]
    for name in sorted(hotset.__all__, key=str.lower):
        parts.append(_public(name, getattr(hotset, name)))
    return "\n".join(parts)


def _example(text: str) -> str:
    """The package's example, as the formatter wants it."""
    return text.split("\n\n", 1)[1].strip().replace("import hotset\nclient", "import hotset\n\nclient")


def _public(name: str, value: Any) -> str:
    said = inspect.cleandoc(value.__dict__.get("__doc__") or "" if isinstance(value, type) else value.__doc__ or "")
    if inspect.isfunction(value):
        return f"## hotset.{name}\n\n{_code(name, value)}\n{said}\n"
    if issubclass(value, enum.Enum):
        members = ", ".join(f"`{member.value}`" if isinstance(member, str) else f"`{member.name}`" for member in value)
        return f"## hotset.{name}\n\n{said}\n\nOne of {members}.\n"
    text = [f"## hotset.{name}\n"]
    if "__init__" in vars(value) and not dataclasses.is_dataclass(value) and not issubclass(value, Exception):
        text.append(_code(name, value.__init__))
    text.append(said + "\n")
    if dataclasses.is_dataclass(value):
        if name == "Settings":
            return "\n".join([*text, "See [settings.md](settings.md).\n"])
        text.append("Fields: " + ", ".join(f"`{field.name}`" for field in dataclasses.fields(value)) + ".\n")
    for member, item in _members(value):
        function = item.fget if isinstance(item, property) else getattr(item, "__func__", item)
        meaning = inspect.cleandoc(function.__doc__ or "")
        if not meaning:
            continue
        if isinstance(item, property):
            text += [f"### {name}.{member}\n", meaning + "\n"]
        else:
            text += [f"### {name}.{member}()\n", _code(member, function), meaning + "\n"]
    return "\n".join(text)


#: Public for other rooms of the package only.
_NOT_FOR_USERS = {"engine", "forked", "waiting"}


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, those of our own bases first, in the order of the source."""
    seen: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("hotset"):
            seen |= {n: v for n, v in vars(base).items() if not n.startswith("_") and n not in _NOT_FOR_USERS}
    for name, value in seen.items():
        if isinstance(value, property | staticmethod | classmethod) or inspect.isfunction(value):
            yield name, value


def _code(name: str, function: Any) -> str:
    """The signature as it is written, without self; one argument a line when it is long."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    shown: list[str] = []
    keywords = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            shown.append("*")
        keywords = keywords or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        shown.append(_parameter(parameter))
    returns = signature.return_annotation
    arrow = "" if returns in (inspect.Signature.empty, None, "None") else f" -> {_annotation(returns)}"
    kind = "async " if inspect.iscoroutinefunction(function) else ""
    line = f"{kind}{name}({', '.join(shown)}){arrow}"
    if len(line) > 100:
        line = f"{kind}{name}(\n" + "".join(f"    {item},\n" for item in shown) + f"){arrow}"
    return f"```python\n{line}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    said = stars + parameter.name
    if parameter.annotation is not parameter.empty:
        said += f": {_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        default = parameter.default
        shown = f"{type(default).__name__}.{default.name}" if isinstance(default, enum.Enum) else repr(default)
        if inspect.isfunction(default):
            shown = "..."  # its repr has an address
        said += f" = {shown}" if parameter.annotation is not parameter.empty else f"={shown}"
    return said


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
