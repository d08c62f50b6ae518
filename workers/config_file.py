"""`ray_config.yaml` as a file: found, read, overridden with `--set`, its `args` validated.

Knows where our settings sit in a Ray Serve config file. Does not know Ray: who deploys passes `document` on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import ConfigError
from workers.batching import DEPLOYMENT, batching
from workers.config import Settings, validate_settings

FILE_NAME = "ray_config.yaml"
IMPORT_PATH = "workers.app:build_app"
SHIPPED = Path(__file__).parent / FILE_NAME
"""The default that comes with the package."""


@dataclass(frozen=True)
class ConfigFile:
    """A Serve config file whose settings are known to be valid.

    Attributes:
        path: Where it was read.
        document: The whole file, for Serve, the overrides in its `args`; `${NAME}` not yet replaced.
        settings: Its `args`, validated.
    """

    path: Path
    document: Mapping[str, Any]
    settings: Settings

    @property
    def application(self) -> Mapping[str, Any]:
        """The one application of ours in the document."""
        return _application(self.document, self.path)


def read_config_file(path: Path | None = None, overrides: Sequence[str] = ()) -> ConfigFile:
    """Read and check a config file.

    Args:
        path: None takes `ray_config.yaml` of the current folder, else the one that is shipped.
        overrides: "GROUP.KEY=VALUE", the value in YAML; later ones win.

    Raises:
        ConfigError: One line: the file or the key, what is wrong with it, what to do.
    """
    found = _find(path)
    document = _read(found)
    application = _application(document, found)
    application["args"] = apply_overrides(application.get("args") or {}, overrides)
    settings = validate_settings(application["args"])
    _check_user_config(application, settings)
    return ConfigFile(found, document, settings)


def _check_user_config(application: Mapping[str, Any], settings: Settings) -> None:
    deployments = application.get("deployments")
    for one in deployments if isinstance(deployments, list) else []:
        if isinstance(one, Mapping) and one.get("name") == DEPLOYMENT and one.get("user_config") is not None:
            batching(one["user_config"], settings.model)


def apply_overrides(args: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `args` with each "GROUP.KEY=VALUE" set.

    Raises:
        ConfigError: An override has no "=", its key no group, or its value is no YAML.
    """
    result: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in args.items()
    }
    for override in overrides:
        key, equals, text = override.partition("=")
        *groups, name = key.strip().split(".")
        if not equals or not groups or not all((*groups, name)):
            raise ConfigError(
                f"--set {override!r}: write GROUP.KEY=VALUE, for example --set kafka.group_id=mine"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(
                f"--set {key}: {text!r} is not valid YAML; quote it like '\"{text}\"'"
            ) from None
        place = result
        for group in groups:
            inner = place.get(group)
            place[group] = dict(inner) if isinstance(inner, Mapping) else {}
            place = place[group]
        place[name] = value
    return result


def _find(path: Path | None) -> Path:
    if path is not None:
        return path
    here = Path(FILE_NAME)
    return here if here.is_file() else SHIPPED


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a {FILE_NAME}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; give the path of a {FILE_NAME}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: is not a Ray Serve config file: it has no `applications`")
    return document


def _application(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    applications = document.get("applications")
    ours = [
        application
        for application in (applications if isinstance(applications, list) else [])
        if isinstance(application, dict) and application.get("import_path") == IMPORT_PATH
    ]
    if len(ours) != 1:
        raise ConfigError(
            f"{path}: has {len(ours)} applications with `import_path: {IMPORT_PATH}`, exactly one is needed"
        )
    args = ours[0].get("args")
    if args is not None and not isinstance(args, dict):
        raise ConfigError(
            f"{path}: `args` of the application is {type(args).__name__}, it must hold groups of settings"
        )
    return ours[0]
