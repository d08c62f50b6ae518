"""Equal shares: what is aligned passes unchanged, nothing is lost, nothing is invented."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from hctdmg.baselines.alignment import align, shares
from hctdmg.baselines.ctc import ctc_loss
from hctdmg.batch import Batch
from hctdmg.layers import masked_mean

LENGTHS = st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=4)
NAMES = ("text", "audio", "vision")


def batch_of(lengths: list[tuple[int, ...]]) -> Batch:
    features, masks = {}, {}
    for name, each in zip(NAMES, zip(*lengths, strict=True), strict=True):
        mask_BT = torch.arange(max(1, *each)) < torch.tensor(each)[:, None]
        masks[name] = mask_BT
        features[name] = torch.rand(*mask_BT.shape, 2) + 1 + 5 * ~mask_BT[..., None]
    return Batch(features, masks)


@given(lengths=LENGTHS)
def test_the_mean_of_every_modality_stays_and_the_clock_is_the_first_that_is_present(
    lengths: list[tuple[int, ...]],
) -> None:
    batch = batch_of(lengths)
    aligned, mask_BT = align(batch, NAMES)
    assert mask_BT.sum(dim=1).tolist() == [next((n for n in row if n), 0) for row in lengths]
    for name in NAMES:
        before_BD = masked_mean(batch.features[name], batch.masks[name])
        assert torch.allclose(masked_mean(aligned[name], mask_BT), before_BD, atol=1e-5)
        assert not (aligned[name] * ~mask_BT[..., None]).any()


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_aligned_data_pass_unchanged(lengths: list[int]) -> None:
    batch = batch_of([(n, n, n) for n in lengths])
    aligned, mask_BT = align(batch, NAMES)
    for name in NAMES:
        assert torch.equal(aligned[name], batch.features[name] * mask_BT[..., None])
        share_BTCD, mask_BTC = shares(batch.features[name], batch.masks[name], mask_BT)
        assert torch.equal(share_BTCD[:, :, 0] * mask_BTC, aligned[name])
        assert mask_BTC.shape[2] == 1


@given(lengths=LENGTHS)
def test_shares_touch_every_step_in_order_and_every_word_has_some(lengths: list[tuple[int, ...]]) -> None:
    batch = batch_of([(max(1, row[0]), *row[1:]) for row in lengths])
    words_BT = batch.masks["text"]
    mask_BS = batch.masks["audio"]
    number_BS1 = torch.arange(mask_BS.shape[1])[None, :, None].expand(len(mask_BS), -1, 1)
    number_BTC1, mask_BTC = shares(number_BS1, mask_BS, words_BT)
    for row in range(len(lengths)):
        touched = number_BTC1[row, ..., 0][mask_BTC[row]].tolist()
        assert touched == sorted(touched)
        assert set(touched) == set(range(int(mask_BS[row].sum())))
        has_some_T = mask_BTC[row].any(dim=1)
        assert (has_some_T == (words_BT[row] & mask_BS[row].any())).all()


def test_ctc_loss_is_the_sum_over_all_paths_and_skips_what_has_none() -> None:
    """Two steps, one word: blank-1, 1-blank and 1-1 are the paths that say "1"."""
    log_BSQ = torch.rand(1, 2, 3).log_softmax(dim=2)
    p_SQ = log_BSQ[0].exp()
    paths = p_SQ[0, 0] * p_SQ[1, 1] + p_SQ[0, 1] * p_SQ[1, 0] + p_SQ[0, 1] * p_SQ[1, 1]
    full = torch.ones(1, 2, dtype=torch.bool)
    assert torch.allclose(ctc_loss(log_BSQ, full, torch.tensor([1])), -paths.log())
    assert ctc_loss(log_BSQ, full, torch.tensor([3])) == 0
    assert ctc_loss(log_BSQ, full, torch.tensor([0])) == 0
