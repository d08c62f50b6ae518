"""What steps by hand does what the formulas say: the cells are torch's LSTM, the memories those of their papers."""

import pytest
import torch
from torch import Tensor, nn

from hctdmg.baselines.cells import Cells
from hctdmg.baselines.marn import Marn
from hctdmg.baselines.mfn import Mfn
from hctdmg.baselines.raven import Raven
from hctdmg.baselines.rmfn import Rmfn
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig

MODALITIES = (ModalityConfig("text", 3, 1), ModalityConfig("audio", 2, 1))
NUM_STEPS, HIDDEN = 4, 5


def sample() -> Batch:
    torch.manual_seed(1)
    features = {one.name: torch.randn(1, NUM_STEPS, one.width) for one in MODALITIES}
    return Batch(features, {name: torch.ones(1, NUM_STEPS, dtype=torch.bool) for name in features})


def lstm_of(cells: Cells, index: int, name: str) -> nn.LSTMCell:
    """Torch's cell with the same weights; its gates are in the order i, f, g, o."""

    def reordered(x_GD: Tensor) -> Tensor:
        i, f, o, g = x_GD.chunk(4)
        return torch.cat([i, f, g, o])

    linear = cells.inputs[name]
    assert isinstance(linear, nn.Linear)
    cell = nn.LSTMCell(linear.in_features, HIDDEN)
    with torch.no_grad():
        cell.weight_ih.copy_(reordered(linear.weight))
        cell.bias_ih.copy_(reordered(linear.bias))
        cell.weight_hh.copy_(reordered(cells.recurrent_MHG[index].t()))
        cell.bias_hh.zero_()
    return cell


def test_mfn_is_lstms_and_a_memory_of_their_changes() -> None:
    model, batch = Mfn(MODALITIES, 1, HIDDEN, memory_width=3, inner=4).eval(), sample()
    lstms = {one.name: lstm_of(model.cells, index, one.name) for index, one in enumerate(MODALITIES)}
    h = {name: torch.zeros(1, HIDDEN) for name in lstms}
    c = {name: torch.zeros(1, HIDDEN) for name in lstms}
    u = torch.zeros(1, 3)
    with torch.inference_mode():
        for step in range(NUM_STEPS):
            before = torch.cat(list(c.values()), dim=1)
            for name, lstm in lstms.items():
                h[name], c[name] = lstm(batch.features[name][:, step], (h[name], c[name]))
            both = torch.cat([before, *c.values()], dim=1)
            attended = model.attention(both).softmax(dim=1) * both
            written = model.write(attended).sigmoid() * model.candidate(attended).tanh()
            u = model.keep(attended).sigmoid() * u + written
        expected = model.head(torch.cat([*h.values(), u], dim=1))
        assert torch.allclose(model(batch).prediction_BK, expected, atol=1e-6)


def test_a_hybrid_memory_is_an_lstm_that_reads_the_shared_code_too() -> None:
    for model in (Marn(MODALITIES, 1, HIDDEN, 4, 3, 2).eval(), Rmfn(MODALITIES, 1, HIDDEN, 3, 2).eval()):
        batch = sample()
        gates_TMBG = model.cells.read(batch.features)
        is_real_B, code_BZ = torch.ones(1, dtype=torch.bool), torch.randn(1, 3)
        start = model.cells.start(1)
        without, with_code = (
            model.cells.step(gates_TMBG[0], start, is_real_B, z) for z in (0 * code_BZ, code_BZ)
        )
        plain = [
            lstm_of(model.cells, index, one.name)(batch.features[one.name][:, 0])[0]
            for index, one in enumerate(MODALITIES)
        ]
        assert torch.allclose(without.output_MBH, torch.stack(plain), atol=1e-6)
        assert not torch.allclose(without.output_MBH, with_code.output_MBH, atol=1e-4)


@pytest.mark.parametrize(("strength", "share"), [(100.0, 0.5), (0.0, 0.0)])
def test_ravens_shift_is_at_most_half_as_long_as_its_word_and_a_small_one_stays(
    strength: float, share: float
) -> None:
    model, batch = Raven(MODALITIES, 1, HIDDEN, 4).eval(), sample()
    seen: list[Tensor] = []
    model.lstm.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].data))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("shifts"):
                parameter.mul_(strength)
        model.shift_bias_D.fill_(strength or 1e-3)
        model(batch)
    words_TD = batch.features["text"][0]
    share_T = (seen[0] - words_TD).norm(dim=1) / words_TD.norm(dim=1)
    assert torch.allclose(share_T, torch.full((NUM_STEPS,), share), atol=1e-2)
