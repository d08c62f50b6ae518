"""Everything that decides a run but the data: model, preset, and what the user set otherwise.

Knows settings by their names. Does not train.
"""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from hctdmg.baselines.registry import CONVOLUTIONAL
from hctdmg.data.dataset import Dataset
from hctdmg.training.build import NAMES, OWN, model_fields
from hctdmg.training.errors import RecipeError
from hctdmg.training.fit_config import FitConfig
from hctdmg.training.presets import PRESETS, preset_for

KERNEL_SIZE = "kernel_size"
OWN_FIT = (
    "unimodal_weight", "unimodal_weighting", "unimodal_truth", "gate_freeze_tolerance", "gate_freeze_epochs",
)  # fmt: skip
"""Settings of training that are about unimodal heads and the gate, which no peer has."""


@dataclass(frozen=True)
class Recipe:
    """How a run goes.

    Attributes:
        model: One of `hctdmg.training.build.NAMES`.
        preset: The name of the preset that the rest began with.
        fit: How to train.
        settings: Fields of `ModelConfig`; empty for a peer.
        kernel_sizes: Of the modalities' convolutions, where not 3.
    """

    model: str
    preset: str
    fit: FitConfig
    settings: Mapping[str, Any]
    kernel_sizes: Mapping[str, int]

    @property
    def of_the_model(self) -> Mapping[str, Any]:
        """By what the network is built: its name, and every setting by the name that the user gives it."""
        kernels = {f"{KERNEL_SIZE}.{name}": size for name, size in self.kernel_sizes.items()}
        own = {**model_fields(), **self.settings} if self.model == OWN else {}
        return {"model": self.model, **own, **kernels}


def make_recipe(
    model: str, preset: str | None, overrides: Sequence[tuple[str, Any]], data: Dataset
) -> Recipe:
    """A recipe for a data set.

    Args:
        model: Its name.
        preset: Its name; None takes the one that fits the data.
        overrides: Names and values: fields of `FitConfig` or `ModelConfig`, or `kernel_size.MODALITY`.
        data: Says which preset fits, and which modalities there are.

    Raises:
        RecipeError: A name or a value is wrong.
    """
    _check_name("model", model, NAMES)
    preset = preset or preset_for(data)
    _check_name("preset", preset, tuple(PRESETS))
    base = PRESETS[preset]
    fit = dataclasses.asdict(base.fit)
    settings = dict(base.model) if model == OWN else {}
    has_kernels = model in CONVOLUTIONAL
    kernels = {name: size for name, size in base.kernel_sizes.items() if has_kernels and name in data.widths}
    known = [*fit, *model_fields(), *(f"{KERNEL_SIZE}.{name}" for name in data.widths)]
    for name, value in overrides:
        _check_name("setting", name, known)
        if model != OWN and (name in OWN_FIT or name in model_fields()):
            raise RecipeError(f"{name}: only {OWN} has this setting; {model} is as its paper has it")
        if name in fit:
            fit[name] = value
        elif name in model_fields():
            settings[name] = _checked(name, type(model_fields()[name]), value)
        elif not has_kernels:
            raise RecipeError(f"{name}: {model} has no convolution; {', '.join(CONVOLUTIONAL)} have")
        else:
            kernels[name.removeprefix(f"{KERNEL_SIZE}.")] = _checked(name, int, value)
    return Recipe(model, preset, _fit_config(fit), settings, kernels)


def _fit_config(values: Mapping[str, Any]) -> FitConfig:
    try:
        return pydantic.TypeAdapter(FitConfig).validate_python(values)
    except pydantic.ValidationError as error:
        raise RecipeError(_first(error)) from None


def _checked(name: str, kind: type, value: Any) -> Any:
    try:
        return pydantic.TypeAdapter(kind).validate_python(value)
    except pydantic.ValidationError as error:
        raise RecipeError(f"{name}: {_first(error)}") from None


def _first(error: pydantic.ValidationError) -> str:
    """The first finding in one line, without the library's wording of where it came from."""
    found = error.errors()[0]
    place = ".".join(map(str, found["loc"]))
    message = str(found["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}, found {found['input']!r}" if place else message


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise RecipeError(f"no {what} {name!r}{hint} There are {', '.join(known)}")
