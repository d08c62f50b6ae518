"""The synthetic world is what its formulas say."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from hctdmg.data.synthetic import DEFAULT_WORLD, World, draw, make_dataset, redraw, render


def test_the_same_seed_gives_the_same_world_and_another_gives_others() -> None:
    first, again, other = (make_dataset(DEFAULT_WORLD, 20, 5, 5, seed) for seed in (1, 1, 2))
    for name, split in first.splits.items():
        for modality, x_NTD in split.features.items():
            assert (x_NTD == again.splits[name].features[modality]).all()
            assert not (x_NTD == other.splits[name].features[modality]).all()
    assert first.widths == {"text": 32, "audio": 24, "vision": 20}
    labels = [set(split.labels_NK[:, 0].tolist()) for split in first.splits.values()]
    assert not labels[0] & labels[1]
    assert not labels[1] & labels[2]


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0, 1), chosen=st.sampled_from([None, "text", "audio", "vision"]))
def test_the_stated_share_contradicts_and_says_so_in_its_own_label(share: float, chosen: str | None) -> None:
    world = dataclasses.replace(DEFAULT_WORLD, conflict_share=share, contradicting=chosen)
    scenes = render(world, draw(world, 400, 1))
    assert (scenes.contradicting_N >= 0).mean() == pytest.approx(share, abs=0.1)
    label_N = scenes.split.labels_NK[:, 0]
    for index, (name, shown_N) in enumerate(scenes.split.unimodal.items()):
        is_opposed_N = scenes.contradicting_N == index
        assert (shown_N[is_opposed_N] == -label_N[is_opposed_N]).all()
        assert (shown_N[~is_opposed_N] == label_N[~is_opposed_N]).all()
        assert chosen in (None, name) or not is_opposed_N.any()


def test_flipping_a_modality_changes_it_alone_and_redrawing_keeps_its_affect() -> None:
    draws = draw(DEFAULT_WORLD, 50, 3)
    plain, flipped = render(DEFAULT_WORLD, draws).split, render(DEFAULT_WORLD, draws, flipped="audio").split
    redrawn = render(DEFAULT_WORLD, redraw(draws, "audio", 4)).split
    for name in ("text", "vision"):
        assert (plain.features[name] == flipped.features[name]).all()
        assert (plain.features[name] == redrawn.features[name]).all()
    assert (plain.masks["audio"] == flipped.masks["audio"]).all()
    assert (flipped.unimodal["audio"] == -plain.unimodal["audio"]).all()
    assert (redrawn.unimodal["audio"] == plain.unimodal["audio"]).all()
    assert not (plain.features["audio"] == flipped.features["audio"]).all()
    assert not (plain.features["audio"] == redrawn.features["audio"]).all()


def test_lengths_follow_the_rates_and_absence_its_share() -> None:
    world = DEFAULT_WORLD.changed("vision", missing_share=0.3)
    draws = draw(world, 500, 5)
    split = render(world, draws).split
    for view in world.views:
        steps_N = split.masks[view.name].sum(axis=1)
        present_N = steps_N > 0
        assert (np.abs(steps_N - draws.duration_N * view.rate_hz)[present_N] <= 0.5).all()
        assert present_N.mean() == pytest.approx(1 - view.missing_share, abs=0.06)
        assert not split.features[view.name][~split.masks[view.name]].any()
    all_missing = World(tuple(dataclasses.replace(view, missing_share=0.99) for view in world.views))
    assert render(all_missing, draws).split.present_NM.any(axis=1).all()


def readable(world: World, name: str) -> float:
    """How well a linear reader of the mean features tells what a modality shows: r on new samples."""

    def means(seed: int) -> tuple[np.ndarray, np.ndarray]:
        split = render(world, draw(world, 600, seed)).split
        mask_NT1 = split.masks[name][..., None]
        return (split.features[name] * mask_NT1).sum(axis=1) / mask_NT1.sum(axis=1), split.unimodal[name]

    (x, y), (new_x, new_y) = means(1), means(2)
    return float(np.corrcoef(Ridge().fit(x, y).predict(new_x), new_y)[0, 1])


def test_informativeness_noise_and_shift_do_what_they_are_named_for() -> None:
    default = readable(DEFAULT_WORLD, "text")
    assert default > 0.8
    assert abs(readable(DEFAULT_WORLD.changed("text", informativeness=0.0), "text")) < 0.15
    assert readable(DEFAULT_WORLD.changed("text", noise=8.0), "text") < default - 0.1
    shifted = dataclasses.replace(DEFAULT_WORLD, shift=1.0)
    draws = draw(DEFAULT_WORLD, 10, 1)
    here, there = (render(world, draws).split.features["text"] for world in (DEFAULT_WORLD, shifted))
    assert abs(np.corrcoef(here.ravel(), there.ravel())[0, 1]) < 0.8
    assert readable(shifted, "text") > 0.8


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_words_say_most_faces_less_and_voices_least(seed: int) -> None:
    world = dataclasses.replace(DEFAULT_WORLD, seed=seed)
    assert readable(world, "text") > readable(world, "vision") > readable(world, "audio") > 0.85


def test_a_contradiction_that_nobody_could_see_is_none() -> None:
    world = dataclasses.replace(DEFAULT_WORLD, conflict_share=1.0).changed("vision", missing_share=0.5)
    alone = world.changed("text", missing_share=0.9).changed("audio", missing_share=0.9)
    for each in (world, alone):
        scenes = render(each, draw(each, 300, 1))
        present_NM = scenes.split.present_NM
        is_one_N = scenes.contradicting_N >= 0
        assert 0 < is_one_N.sum() < 300
        assert present_NM[is_one_N, scenes.contradicting_N[is_one_N]].all()
        assert (present_NM[is_one_N].sum(axis=1) > 1).all()


@pytest.mark.parametrize(
    "changes", [{"conflict_share": 1.1}, {"shift": -0.1}, {"least_s": 9.0}, {"contradicting": "smell"}]
)
def test_an_impossible_world_is_refused(changes: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=r"must be|lie in"):
        dataclasses.replace(DEFAULT_WORLD, **changes)  # type: ignore[arg-type]
