"""The commands `hctdmg config check|show|schema`. Knows the settings; starts nothing."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import JsonValue, SecretStr

from pipelines.errors import ConfigError
from pipelines.schemas import json_schema
from workers.config import Settings
from workers.config_file import ConfigFile, read_config_file
from workers.output import note, print_json, print_line

HIDDEN = "***"


def check(path: Path | None, overrides: Sequence[str], as_json: bool) -> None:
    """Say that a config file is right.

    Raises:
        ConfigError: It is not.
    """
    config = read_config_file(path, overrides)
    _check_with_serve(config)
    if as_json:
        print_json({"status": "ok", "path": str(config.path)})
    else:
        print_line("ok")


def show(path: Path | None, overrides: Sequence[str], as_json: bool) -> None:
    """Print the settings in effect as YAML, or as one JSON line."""
    config = read_config_file(path, overrides)
    settings = effective_settings(config)
    if as_json:
        print_json(settings)
        return
    note(f"# from {config.path}")
    print_line(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip())


def schema() -> None:
    """Print the JSON Schema of the settings."""
    title = "Settings of hctdmg: the `args` in ray_config.yaml"
    print_line(json.dumps(json_schema(Settings, "validation", title), indent=2, ensure_ascii=False))


def effective_settings(config: ConfigFile) -> dict[str, JsonValue]:
    """Every setting with its default filled in; what is secret or came from the environment as ***."""
    values = config.settings.model_dump(mode="json")
    hidden = _hide(values, config.settings.model_dump(), config.application["args"])
    assert isinstance(hidden, dict)
    return hidden


def _hide(value: JsonValue, validated: object, written: object) -> JsonValue:
    """Walk the settings as printed, as validated (secrets have their type) and as written (`${NAME}`)."""
    if isinstance(validated, SecretStr) or (isinstance(written, str) and re.search(r"\$\{\w+\}", written)):
        return HIDDEN
    if not isinstance(value, dict) or not isinstance(validated, Mapping):
        return value
    as_written = written if isinstance(written, Mapping) else {}
    return {key: _hide(item, validated.get(key), as_written.get(key)) for key, item in value.items()}


def _check_with_serve(config: ConfigFile) -> None:
    from pydantic import ValidationError
    from ray.serve.schema import ServeDeploySchema  # late: takes seconds

    try:
        ServeDeploySchema.model_validate(config.document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(f"{config.path}: {where}: {problem['msg']}") from None
