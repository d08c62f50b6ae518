"""What the docs say of the code, generated: commands and settings in `reference.md`, metrics in `operations.md`.

Run `python -m workers.reference` to write it, with --check to be told (exit 1) that it has drifted.
"""

import argparse
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer.main
import yaml
from pydantic import BaseModel, JsonValue
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from pipelines.schemas import split_docstring
from workers.cli import app
from workers.config import Settings
from workers.metrics import METRICS, PREFIX, RAYS_OWN, Metric

Parameter = TyperArgument | TyperOption

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "reference.md"
OPERATIONS = DOCS / "operations.md"
METRICS_BEGIN = "<!-- metrics: written by `make docs` from workers/metrics.py -->\n"
METRICS_END = "<!-- end of metrics -->\n"
INTRODUCTION = """# Reference

Generated from the code by `make docs`; do not edit. Messages are described by
[`affect-event-1.0.json`](../pipelines/schemas/affect-event-1.0.json) and
[`segment-1.0.json`](../pipelines/schemas/segment-1.0.json).
"""


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(prog="python -m workers.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail when a page has drifted")
    is_check = parser.parse_args().check
    pages = {PAGE: page(), OPERATIONS: operations(OPERATIONS.read_text(encoding="utf-8"))}
    drifted = [
        path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in drifted:
        if is_check:
            sys.stderr.write(f"docs/{path.name} differs from the code: run make docs\n")
        else:
            path.write_text(pages[path], encoding="utf-8")
    return int(is_check and bool(drifted))


def operations(text: str) -> str:
    """The page for operators, with its table of metrics as the code has them."""
    before, rest = text.split(METRICS_BEGIN)
    _, after = rest.split(METRICS_END)
    return "".join([before, METRICS_BEGIN, *_metrics([*METRICS, *RAYS_OWN]), METRICS_END, after])


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, "\n## Commands\n", *_commands(typer.main.get_command(app), "hctdmg")]
    return "".join([*parts, "\n## Settings\n", *_settings()])


def _commands(command: object, name: str) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        for inner in command.commands.values():
            yield from _commands(inner, f"{name} {inner.name}")
        return
    assert isinstance(command, TyperCommand)
    yield f"\n### `{name}`\n\n{_plain(command.help or '')}\n"
    rows = [f"| {_names(one)} | {_cell(_meaning(one))} |\n" for one in _parameters(command)]
    if rows:
        yield "".join(["\n| Option | Meaning |\n|---|---|\n", *rows])


def _parameters(command: TyperCommand) -> Iterator[Parameter]:
    for parameter in command.params:
        assert isinstance(parameter, TyperArgument | TyperOption)
        yield parameter


def _names(parameter: Parameter) -> str:
    if isinstance(parameter, TyperArgument):
        return f"`{parameter.metavar or parameter.name}`"
    return ", ".join(f"`{name}`" for name in parameter.opts)


def _meaning(parameter: Parameter) -> str:
    meaning = parameter.help or ""
    if parameter.default not in (None, False, ()) and parameter.show_default:
        meaning += f" Default: `{parameter.default}`."
    return meaning


def _plain(help_text: str) -> str:
    """A docstring without Rich's escapes, its example as code."""
    summary, _, example = help_text.replace("\\[", "[").partition("Example:  ")
    return f"{summary.strip()}\n\n```\n{example.strip()}\n```"


def _settings() -> Iterator[str]:
    for group, field in Settings.model_fields.items():
        yield from _group(group, field.annotation)


def _group(path: str, model: object) -> Iterator[str]:
    """A table for the group, then one for each group inside it."""
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    _, meanings = split_docstring(inspect.cleandoc(model.__doc__ or ""))
    inner: list[tuple[str, object]] = []
    yield f"\n### `{path}`\n\n| Setting | Default | Meaning |\n|---|---|---|\n"
    for name, value in model().model_dump(mode="json").items():
        meaning = _cell(meanings.get(name, ""))
        if isinstance(value, dict):
            inner.append((f"{path}.{name}", model.model_fields[name].annotation))
            yield f"| `{path}.{name}` | | {meaning} See below. |\n"
        else:
            yield f"| `{path}.{name}` | `{_default(value)}` | {meaning} |\n"
    for place, group in inner:
        yield from _group(place, group)


def _metrics(metrics: Sequence[Metric]) -> Iterator[str]:
    yield "| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n"
    for metric in metrics:
        labels = "<br>".join(
            f"`{label.name}`: {', '.join(label.values)}" if label.values else f"`{label.name}`"
            for label in metric.labels
        )
        yield f"| `{PREFIX}{metric.name}` | {metric.kind} | {labels} | {_cell(metric.meaning)} |\n"


def _default(value: JsonValue) -> str:
    """As YAML writes it on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).splitlines()[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
