"""The state of a fit: resumed by the run that wrote it and by no other, refused when damaged or hostile."""

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch

from hctdmg.baselines.mult import MulT, MulTConfig
from hctdmg.baselines.registry import NAMES
from hctdmg.data.dataset import Dataset
from hctdmg.training.build import build_network, modalities_of
from hctdmg.training.errors import RecipeError, TrainingError
from hctdmg.training.fit import FitConfig, FitResult, fit
from hctdmg.training.fit_state import METRICS, STATE
from hctdmg.training.network import Standardised, describe
from tests.small_data import FIT, MODEL, small_world
from tests.small_fit import same_history, trained


def test_a_state_is_resumed_only_by_the_run_that_wrote_it(tmp_path: Path) -> None:
    data = small_world()
    config = dataclasses.replace(FIT, num_epochs=3, learning_rate=0.02, plateau_patience=0)

    def resume(data: Dataset, config: FitConfig) -> FitResult:
        return fit(build_network("hct-dmg", data, config.seed, MODEL), data, config, tmp_path)

    resume(data, config)
    with pytest.raises(RecipeError, match="is of another run"):
        resume(data, dataclasses.replace(config, learning_rate=1e-3))
    with pytest.raises(RecipeError, match="data_sha256"):
        resume(small_world(seed=1), config)
    longer = resume(data, dataclasses.replace(config, num_epochs=8))
    _, whole = trained(data, dataclasses.replace(config, num_epochs=8))
    assert same_history(longer, whole)
    assert whole.history[-1].learning_rate < 0.02


def test_a_state_of_a_network_that_differs_only_in_what_shapes_do_not_tell_is_refused(tmp_path: Path) -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=1)

    def mult(**changes: float) -> torch.nn.Module:
        torch.manual_seed(1)
        shape = MulTConfig(modalities_of(data, {}), dim=8, num_heads=2, num_layers=1)
        return Standardised(MulT(dataclasses.replace(shape, **changes)), data.widths)  # type: ignore[arg-type]

    def own(**changes: float) -> torch.nn.Module:
        return build_network("hct-dmg", data, 1, {**MODEL, **changes})

    for build, others in (
        (
            mult,
            ({"num_heads": 4}, {"attention_dropout": 0.5}, {"embed_dropout": 0.5}, {"output_dropout": 0.5}),
        ),
        (own, ({"num_heads": 4}, {"attention_dropout": 0.5}, {"input_dropout": 0.5})),
    ):
        folder = tmp_path / build.__name__
        fit(build(), data, config, folder)
        for changes in others:
            with pytest.raises(RecipeError, match="is of another run"):
                fit(build(**changes), data, config, folder)
        fit(build(), data, config, folder)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_remembered_of_a_network_is_the_same_every_time(name: str) -> None:
    data = small_world()
    described = describe(build_network(name, data, 1))
    assert described == describe(build_network(name, data, 2))
    assert " at 0x" not in described


def test_metrics_that_a_kill_cut_short_are_put_right_on_resumption(tmp_path: Path) -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=2)

    def resume() -> None:
        fit(build_network("hct-dmg", data, config.seed, MODEL), data, config, tmp_path)

    resume()
    whole = (tmp_path / METRICS).read_text()
    for cut in (whole.splitlines(keepends=True)[0], None):
        (tmp_path / METRICS).unlink()
        if cut is not None:
            (tmp_path / METRICS).write_text(cut)
        resume()
        assert (tmp_path / METRICS).read_text() == whole


def test_a_run_does_not_shrink_below_what_it_has_trained(tmp_path: Path) -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=3)
    network = build_network("hct-dmg", data, config.seed, MODEL)
    fit(network, data, config, tmp_path)
    with pytest.raises(RecipeError, match="num_epochs is 2, but 3 are trained already"):
        fit(network, data, dataclasses.replace(config, num_epochs=2), tmp_path)


def test_a_damaged_or_hostile_state_is_refused(tmp_path: Path) -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=1)
    network = build_network("hct-dmg", data, config.seed, MODEL)
    fit(network, data, config, tmp_path)
    content = (tmp_path / STATE).read_bytes()

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "harm",))

    for bad in (content[: len(content) // 2], b"", pickle.dumps(Hostile(), protocol=2)):
        (tmp_path / STATE).write_bytes(bad)
        with pytest.raises(TrainingError, match="is damaged"):
            fit(network, data, config, tmp_path)
    assert not (tmp_path / "harm").exists()
