"""Dropout of modalities: takes as many as asked for, and never the last one of a sample."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hctdmg.training.modality_dropout import drop_modalities
from tests.small_data import small_world


@given(seed=st.integers(0, 2**16), chance=st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_dropout_of_modalities_takes_some_and_never_the_last(seed: int, chance: float) -> None:
    rng = np.random.default_rng(seed)
    batch = small_world().splits["test"].batch(rng.choice(96, 12, replace=False).tolist())
    dropped = drop_modalities(batch, chance, rng)
    before, after = (
        torch.stack([mask_BT.any(dim=1) for mask_BT in one.masks.values()], dim=1) for one in (batch, dropped)
    )
    assert not bool((after & ~before).any())
    assert bool((after.any(dim=1) == before.any(dim=1)).all())
    for name, mask_BT in dropped.masks.items():
        assert not bool(dropped.features[name][~mask_BT].any())
        kept_B = mask_BT.any(dim=1)
        assert torch.equal(dropped.features[name][kept_B], batch.features[name][kept_B])


def test_as_many_modalities_are_dropped_as_asked_for() -> None:
    batch = small_world().splits["train"].batch(range(160))
    rng, kept = np.random.default_rng(0), []
    for _ in range(40):
        masks = drop_modalities(batch, 0.3, rng).masks
        kept.append(np.mean([float(mask_BT.any(dim=1).float().mean()) for mask_BT in masks.values()]))
    present = np.mean([float(mask_BT.any(dim=1).float().mean()) for mask_BT in batch.masks.values()])
    # The last one always stays: a little more than 0.7 of those that are there.
    assert 0.7 * present < np.mean(kept) < 0.76 * present
