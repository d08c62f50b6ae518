"""The small models that experiments compare differ in what they are compared by, and in that alone."""

import torch

from hctdmg.experiments.setup import FULL, QUICK
from hctdmg.experiments.small import HEAD_START, build_small, gate, make_data, train_small
from hctdmg.model import HctDmg
from hctdmg.training.build import OWN

DATA = make_data(QUICK, QUICK.world(0), 0)


def test_a_fixed_primary_stays_as_it_was_set_and_a_learned_gate_moves() -> None:
    fixed, result = train_small("fixed-audio", DATA, QUICK, 0)
    learned, _ = train_small(OWN, DATA, QUICK, 0)
    assert isinstance(fixed, HctDmg)
    assert isinstance(learned, HctDmg)
    torch.testing.assert_close(fixed.gate.logits_N.detach(), torch.tensor([1.0, 1.0 + HEAD_START, 1.0]))
    assert gate(result)["primary.audio"] == 1
    assert (learned.gate.logits_N - 1).abs().max() > HEAD_START


def test_they_begin_with_the_same_weights_but_for_the_gate() -> None:
    fixed, learned = (build_small(name, DATA, QUICK, 3).state_dict() for name in ("fixed-vision", OWN))
    assert [name for name in learned if not torch.equal(fixed[name], learned[name])] == ["gate.logits_N"]


def test_the_small_model_has_the_stated_size() -> None:
    data = make_data(QUICK, FULL.world(0), 0)
    size = sum(one.numel() for one in build_small(OWN, data, FULL, 0).parameters())
    assert f"{size:,}" == "62,669"
