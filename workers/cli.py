"""The command line `hctdmg`: options and their help.

What a command does is in a module of its own, imported when it runs. Importing this loads no torch, Ray,
OpenCV or matplotlib, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from workers.output import EXIT_FAILURE, EXIT_INTERRUPTED, report

app = typer.Typer(
    name="hctdmg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(
    no_args_is_help=True, help="Check, describe or show the settings in ray_config.yaml."
)
app.add_typer(config_app, name="config")

ConfigPath = Annotated[
    Path | None,
    typer.Argument(
        help="A Ray Serve config file. Default: ray_config.yaml here, else the shipped one.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="GROUP.KEY=VALUE",
        help="Override a setting; the value is YAML. Repeatable.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout, nothing else there.")]


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; the same as HCTDMG_DEBUG=1.")
    ] = False,
) -> None:
    """Affect in streaming video: segments from Kafka, the HCT-DMG model on Ray Serve, one event per segment.

    Start with:  hctdmg demo
    """
    if debug:
        os.environ["HCTDMG_DEBUG"] = "1"


@config_app.command("check")
def _config_check(config: ConfigPath = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say "ok", or in one line what is wrong (exit 2).

    Example:  hctdmg config check ray_config.yaml --set model.max_batch_size=16
    """
    from workers.config_report import check

    check(config, overrides or (), as_json)


@config_app.command("show")
def _config_show(config: ConfigPath = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print the settings in effect, defaults included, secrets as ***.

    Example:  hctdmg config show --set 'media.allowed_roots=[/srv/media]'
    """
    from workers.config_report import show

    show(config, overrides or (), as_json)


@config_app.command("schema")
def _config_schema() -> None:
    """Print the JSON Schema of the settings: every key, its type, limits, default and meaning.

    Example:  hctdmg config schema > settings.schema.json
    """
    from workers.config_report import schema

    schema()


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        Its exit status; an error has then been written to stderr as one line.
    """
    try:
        status = app(list(arguments), prog_name="hctdmg", standalone_mode=False)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error, but nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except Exception as error:  # noqa: BLE001 - the edge of the program: users see one line, not a traceback
        return report(error)
    return status if isinstance(status, int) else 0
