"""A checkpoint's manifest: what the weights are, as JSON beside them. Knows fields and types, not tensors.

Reading is strict: an unknown key, a missing one or a wrong type is one `CheckpointError` that names the path.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hctdmg.config import ModelConfig
from hctdmg.contract import FeatureContract

FORMAT: Literal["hctdmg-checkpoint"] = "hctdmg-checkpoint"
FORMAT_VERSION = 1
PEER_FORMAT: Literal["hctdmg-peer"] = "hctdmg-peer"
"""Of the models that HCT-DMG is compared with (`hctdmg.training.peer_checkpoint`), which are never served."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, foreign or does not fit. The message is one line."""


@dataclass(frozen=True)
class HeadCalibration:
    """How one head's raw output becomes probabilities.

    Attributes:
        temperature: Regression: factor on the predicted Laplace scale; classes: divisor of the logits.
        neutral_zone: Sentiment within this distance of 0 is "neutral".
    """

    temperature: float = 1.0
    neutral_zone: float = 0.5


@dataclass(frozen=True)
class Calibration:
    """Everything fitted on the calibration split.

    Attributes:
        fused: The fused head.
        unimodal: Each modality's own head.
        interval_factor: Half-width of the 80 % interval in calibrated Laplace scales; ln 5 if the Laplace were exact.
        min_confidence: A reading below it takes no part in incongruity.
        incongruity_threshold: Distance, in [0, 1], at which a contradiction is flagged.
        false_positive_rate: Share of congruent calibration samples that the threshold flags.
    """

    fused: HeadCalibration = field(default_factory=HeadCalibration)
    unimodal: Mapping[str, HeadCalibration] = field(default_factory=dict)
    interval_factor: float = math.log(5)
    min_confidence: float = 0.6
    incongruity_threshold: float = 0.4
    false_positive_rate: float | None = None


@dataclass(frozen=True)
class Manifest:
    """One checkpoint.

    Attributes:
        name: Its name, as events show it.
        version: Its version, as events show it.
        description: One or two sentences for people; says what the model was taught from.
        model: Shape of the model.
        features: What its features must be.
        calibration: Fitted on the calibration split.
        training: How it was made: data, seeds, versions, figures (JSON values).
        weights_sha256: Digest of `model.safetensors`.
    """

    name: str
    version: str
    description: str
    model: ModelConfig
    features: FeatureContract
    calibration: Calibration
    training: Mapping[str, Any]
    weights_sha256: str
    format: Literal["hctdmg-checkpoint"] = FORMAT
    format_version: int = FORMAT_VERSION


def manifest_to_json(manifest: Manifest) -> str:
    """The manifest's text; equal manifests give equal texts."""
    return json.dumps(dataclasses.asdict(manifest), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def manifest_from_json(text: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        CheckpointError: It is no JSON, no manifest of ours, of another format version, or contradicts itself.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"manifest is not JSON: {error}") from None
    if isinstance(value, dict) and value.get("format") == PEER_FORMAT:
        raise CheckpointError(
            f"holds {value.get('model')!r}, a model to compare HCT-DMG with: it can be evaluated, nothing else"
        )
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise CheckpointError(f'manifest has no "format": "{FORMAT}"; is this another program\'s checkpoint?')
    if value.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"manifest has format_version {value.get('format_version')!r}, "
            f"this program reads {FORMAT_VERSION}: update hctdmg"
        )
    manifest: Manifest = read_value(Manifest, value, "manifest")
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    contract = {name: modality.width for name, modality in manifest.features.modalities.items()}
    if contract != manifest.model.widths:
        raise CheckpointError(f"feature contract has widths {contract}, the model {manifest.model.widths}")
    missing = sorted(set(manifest.model.names) - set(manifest.calibration.unimodal))
    if missing:
        raise CheckpointError(f"calibration.unimodal lacks {missing[0]!r}")


def read_value(kind: Any, value: Any, path: str) -> Any:
    """Build `kind` from a JSON value: a dataclass, or what its fields may be.

    Args:
        kind: The type.
        value: As `json.loads` gives it.
        path: Of the value, for messages.

    Raises:
        CheckpointError: It is not of that type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, path)
    if kind is Any:
        return value
    if origin is Literal:
        return _expect(value in arguments, value, path, f"one of {', '.join(map(repr, arguments))}")
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return _expect(type(None) in arguments, value, path, "a value")
        return read_value(next(option for option in arguments if option is not type(None)), value, path)
    if origin is tuple:
        _expect(isinstance(value, list), value, path, "a list")
        return tuple(read_value(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        _expect(isinstance(value, dict), value, path, "an object")
        return {name: read_value(arguments[1], item, f"{path}.{name}") for name, item in value.items()}
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(_expect(number and math.isfinite(value), value, path, "a finite number"))
    whole = kind is not int or not isinstance(value, bool)
    return _expect(isinstance(value, kind) and whole, value, path, kind.__name__)


def _read_dataclass(kind: Any, value: Any, path: str) -> Any:
    _expect(isinstance(value, dict), value, path, "an object")
    hints = typing.get_type_hints(kind)
    required = {
        f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING
    }
    if unknown := sorted(set(value) - set(hints)):
        raise CheckpointError(f"{path}: unknown key {unknown[0]!r}")
    if missing := sorted(required - set(value)):
        raise CheckpointError(f"{path}: missing key {missing[0]!r}")
    try:
        return kind(**{name: read_value(hints[name], item, f"{path}.{name}") for name, item in value.items()})
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _expect(holds: bool, value: Any, path: str, expected: str) -> Any:
    if not holds:
        raise CheckpointError(f"{path}: expected {expected}, found {str(value)[:60]!r}")
    return value
