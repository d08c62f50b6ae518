"""Takes modalities from training samples at random, so that the model learns to do without. Knows batches alone.

Shape suffixes: B samples, M modalities.
"""

import numpy as np
import torch

from hctdmg.batch import Batch


def drop_modalities(batch: Batch, chance: float, rng: np.random.Generator) -> Batch:
    """The batch with modalities taken out; each sample keeps at least one of those that it has.

    Args:
        batch: On the CPU.
        chance: That a sample loses a modality that it has, in [0, 1).
        rng: Decides.
    """
    if not chance:
        return batch
    present_BM = np.stack([mask_BT.any(dim=1).numpy() for mask_BT in batch.masks.values()], axis=1)
    draws_BM = rng.uniform(size=present_BM.shape)
    kept_BM = present_BM & (draws_BM >= chance)
    # The present one with the luckiest draw stays whatever the chance.
    lucky_B = np.where(present_BM, draws_BM, -1.0).argmax(axis=1)
    rows_B = np.arange(len(lucky_B))
    kept_BM[rows_B, lucky_B] = present_BM[rows_B, lucky_B]
    features, masks = {}, {}
    for column, name in enumerate(batch.masks):
        kept_B1 = torch.from_numpy(kept_BM[:, column])[:, None]
        masks[name] = batch.masks[name] & kept_B1
        features[name] = batch.features[name] * kept_B1[..., None]
    return Batch(features, masks)
