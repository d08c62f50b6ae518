"""The commands `hctdmg config`: options and their help.

Imports nothing heavy, as `workers.cli`. What a command does is in `workers.config_report`.
"""

import typer

from workers.cli_options import AsJson, ConfigPath, Overrides

config_app = typer.Typer(
    no_args_is_help=True, help="Check, describe or show the settings in ray_config.yaml."
)


@config_app.command("check")
def _config_check(config: ConfigPath = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say "ok", or in one line what is wrong (exit 2).

    Example:  hctdmg config check ray_config.yaml --set model.max_batch_size=16
    """
    from workers.config_report import check

    check(config, overrides or (), as_json)


@config_app.command("show")
def _config_show(config: ConfigPath = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    r"""Print the settings in effect, defaults included, secrets as ***.

    Example:  hctdmg config show --set 'media.allowed_roots=\[/srv/media]'
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
