"""The model as the paper has it: size, roles, masks, and that nothing leaks between samples."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hctdmg.batch import Batch, Sample, collate
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.model import HctDmg, Output
from tests.hctdmg.samples import make_model, make_sample, small_config

TOLERANCE = 1e-5
MULT_WIDTHS = (ModalityConfig("text", 300, 1), ModalityConfig("audio", 74), ModalityConfig("vision", 35))


def run(model: HctDmg, *samples: Sample, want_attention: bool = False) -> Output:
    with torch.inference_mode():
        output: Output = model(collate(samples, model.config.widths), want_attention)
    return output


def gate_gradient(model: HctDmg, batch: Batch) -> torch.Tensor | None:
    model.zero_grad(set_to_none=True)
    model(batch).prediction_BK.sum().backward()
    return model.gate.logits_N.grad


def test_has_the_size_the_paper_states() -> None:
    num_parameters = HctDmg(ModelConfig(MULT_WIDTHS)).num_parameters
    print(f"HCT-DMG at MulT's widths 300/74/35, d = 40: {num_parameters:,} parameters")
    assert 810_000 <= num_parameters <= 860_000


@settings(max_examples=40, deadline=None)
@given(
    num_modalities=st.integers(2, 4),
    lengths=st.lists(
        st.tuples(*[st.integers(0, 9)] * 4).filter(lambda row: any(row[:2])), min_size=1, max_size=5
    ),
    gate=st.permutations([0.0, 0.5, 1.0, 1.5]),
    padding=st.integers(0, 6),
)
def test_an_answer_depends_neither_on_the_batch_nor_on_padding(
    num_modalities: int, lengths: list[tuple[int, ...]], gate: list[float], padding: int
) -> None:
    config = small_config(num_modalities)
    model = make_model(config, gate[:num_modalities])
    samples = [
        make_sample(config, dict(zip(config.names, row, strict=False)), seed)
        for seed, row in enumerate(lengths)
    ]
    batch = collate(samples, config.widths)
    padded = Batch(
        {name: torch.nn.functional.pad(x_BTD, (0, 0, 0, padding)) for name, x_BTD in batch.features.items()},
        {name: torch.nn.functional.pad(mask_BT, (0, padding)) for name, mask_BT in batch.masks.items()},
    )
    with torch.inference_mode():
        together, with_padding = model(batch), model(padded)
    for row, sample in enumerate(samples):
        alone = run(model, sample)
        for other in (together, with_padding):
            torch.testing.assert_close(
                other.prediction_BK[row], alone.prediction_BK[0], atol=TOLERANCE, rtol=TOLERANCE
            )
            for name in config.names:
                torch.testing.assert_close(
                    other.unimodal[name][row], alone.unimodal[name][0], atol=TOLERANCE, rtol=TOLERANCE
                )
            assert other.order_BN[row].tolist() == alone.order_BN[0].tolist()


def test_what_lies_in_the_padding_is_never_read() -> None:
    config = small_config()
    model = make_model(config)
    batch = collate(
        [
            make_sample(config, dict.fromkeys(config.names, 3)),
            make_sample(config, dict.fromkeys(config.names, 8)),
        ],
        config.widths,
    )
    dirty = Batch(
        {name: torch.where(batch.masks[name][..., None], x, 1e3) for name, x in batch.features.items()},
        batch.masks,
    )
    with torch.inference_mode():
        torch.testing.assert_close(model(dirty).prediction_BK, model(batch).prediction_BK)


@pytest.mark.parametrize("num_modalities", [2, 3, 4])
def test_every_present_modality_moves_the_answer(num_modalities: int) -> None:
    config = small_config(num_modalities)
    model = make_model(config)
    lengths = dict.fromkeys(config.names, 4)
    before = run(model, make_sample(config, lengths)).prediction_BK
    for name in config.names:
        sample = {**make_sample(config, lengths), name: make_sample(config, lengths, seed=1)[name]}
        assert not torch.allclose(run(model, sample).prediction_BK, before), name


@pytest.mark.parametrize(
    ("num_modalities", "expected"),
    [
        (2, {"stage2.1", "self"}),
        (3, {"stage1.1.2", "stage1.2.1", "stage2.1", "stage2.2", "self"}),
        (4, {f"stage1.{i}.{j}" for i in (1, 2, 3) for j in (1, 2, 3) if i != j}
            | {"stage2.1", "stage2.2", "stage2.3", "self"}),
    ],
)  # fmt: skip
def test_each_auxiliary_attends_to_each_other_and_the_primary_to_all(
    num_modalities: int, expected: set[str]
) -> None:
    config = small_config(num_modalities)
    output = run(make_model(config), make_sample(config, dict.fromkeys(config.names, 3)), want_attention=True)
    assert output.attention is not None
    assert set(output.attention) == expected


def test_attention_weights_are_distributions_over_real_steps() -> None:
    config = small_config()
    model = make_model(config, gate=[2.0, 1.0, 0.0])
    short, long = ({"text": 3, "audio": 2, "vision": 0}, {"text": 5, "audio": 6, "vision": 4})
    output = run(model, make_sample(config, short), make_sample(config, long), want_attention=True)
    assert output.attention is not None
    to_audio_LBHTS = output.attention["stage2.1"]
    assert to_audio_LBHTS.shape == (2, 2, 8, 5, 6)
    torch.testing.assert_close(to_audio_LBHTS.sum(dim=-1), torch.ones(2, 2, 8, 5))
    assert to_audio_LBHTS[:, 0, :, :, 2:].abs().max() == 0
    assert output.attention["stage2.2"][:, 0].abs().max() == 0, "an absent modality gets no attention"
    assert run(model, make_sample(config, long)).attention is None


def test_asking_for_attention_does_not_change_the_answer() -> None:
    config = small_config()
    model = make_model(config)
    sample = make_sample(config, dict.fromkeys(config.names, 4))
    torch.testing.assert_close(
        run(model, sample, want_attention=True).prediction_BK, run(model, sample).prediction_BK
    )


def test_the_heaviest_modality_is_primary_whatever_the_batch_holds() -> None:
    config = small_config()
    model = make_model(config, gate=[0.0, 2.0, 1.0])
    loud = {name: 100 * x_TD for name, x_TD in make_sample(config, dict.fromkeys(config.names, 5)).items()}
    quiet = make_sample(config, dict.fromkeys(config.names, 5), seed=3)
    assert run(model, loud, quiet).order_BN.tolist() == [[1, 2, 0], [1, 2, 0]]
    assert run(model, loud).weights_N.tolist() == run(model, quiet).weights_N.tolist()


def test_a_sample_without_its_primary_falls_back_to_its_heaviest_present_modality() -> None:
    config = small_config()
    model = make_model(config, gate=[0.0, 2.0, 1.0])
    rows = ({"text": 3, "audio": 4, "vision": 2}, {"text": 3, "vision": 2}, {"text": 3})
    output = run(model, *(make_sample(config, row) for row in rows))
    assert output.order_BN.tolist() == [[1, 2, 0], [2, 1, 0], [0, 1, 2]]


def test_stage_weights_belong_to_roles() -> None:
    """Two modalities that swap their gate weights swap their roles; the transformers stay where they are."""
    config = ModelConfig(
        (ModalityConfig("a", 4), ModalityConfig("b", 4)), num_layers_stage2=1, num_layers_self=1
    )
    model = make_model(config, gate=[2.0, 1.0])
    first, second = make_sample(config, {"a": 3, "b": 5}).values()
    before = run(model, {"a": first, "b": second}).prediction_BK
    with torch.no_grad():
        model.gate.logits_N.copy_(torch.tensor([1.0, 2.0]))
        model.streams["a"], model.streams["b"] = model.streams["b"], model.streams["a"]
    torch.testing.assert_close(run(model, {"a": second, "b": first}).prediction_BK, before)


def test_the_gate_learns_until_it_is_frozen() -> None:
    config = small_config()
    model = make_model(config).train()
    batch = collate([make_sample(config, dict.fromkeys(config.names, 4))], config.widths)
    gradient_N = gate_gradient(model, batch)
    assert gradient_N is not None
    assert gradient_N.abs().max() > 0
    model.gate.freeze()
    assert gate_gradient(model, batch) is None
    model.gate.freeze(False)
    assert gate_gradient(model, batch) is not None


def test_gradients_stay_finite_when_modalities_are_missing() -> None:
    config = small_config()
    model = make_model(config).train()
    rows = ({"text": 3}, {"audio": 4}, {"text": 2, "vision": 5})
    batch = collate([make_sample(config, row) for row in rows], config.widths)
    model(batch).prediction_BK.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_classes_have_a_logit_each() -> None:
    config = small_config(labels=("happy", "sad", "angry"))
    output = run(make_model(config), make_sample(config, {"text": 2, "audio": 2}))
    assert output.prediction_BK.shape == (1, 3)
    assert all(logits_BK.shape == (1, 3) for logits_BK in output.unimodal.values())


def test_features_are_standardised_inside_the_model() -> None:
    config = small_config()
    plain, scaled = make_model(config), make_model(config)
    scaled.set_input_statistics(
        {
            name: (torch.full((width,), 5.0), torch.full((width,), 2.0))
            for name, width in config.widths.items()
        }
    )
    sample = make_sample(config, dict.fromkeys(config.names, 4))
    moved = {name: x_TD * 2 + 5 for name, x_TD in sample.items()}
    torch.testing.assert_close(
        run(scaled, moved).prediction_BK, run(plain, sample).prediction_BK, atol=TOLERANCE, rtol=TOLERANCE
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modalities": (ModalityConfig("text", 3),)}, "at least two"),
        ({"modalities": (ModalityConfig("text", 3), ModalityConfig("text", 4))}, "different names"),
        ({"num_heads": 7}, "divisible by num_heads = 7"),
        ({"labels": ("happy",)}, "at least two, or none"),
        ({"dim": 0}, "dim is 0: it must be at least 1"),
        ({"num_heads": -8}, "num_heads is -8: it must be at least 1"),
        ({"num_layers_self": -3}, "num_layers_self is -3: it must be at least 1"),
        ({"attention_dropout": 1.5}, r"attention_dropout is 1\.5: it must be from 0 to below 1"),
        ({"output_dropout": float("nan")}, "output_dropout is nan"),
    ],
)
def test_a_shape_that_can_not_be_built_is_refused(change: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {"modalities": MULT_WIDTHS, **change}
    with pytest.raises(ValueError, match=message):
        ModelConfig(**fields)  # type: ignore[arg-type]


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size is 2"):
        ModalityConfig("text", 3, 2)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"smell": np.zeros((1, 2), np.float32)}, "unknown modality 'smell'"),
        ({"text": np.zeros((1, 2), np.float32)}, r"expected \(T, 12\)"),
        ({"text": np.zeros(12, np.float32)}, r"expected \(T, 12\)"),
        ({"text": np.full((1, 12), np.nan, np.float32)}, "not finite"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(sample: Sample, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        collate([sample], small_config().widths)


def test_a_batch_needs_a_sample() -> None:
    with pytest.raises(ValueError, match="at least one"):
        collate([], small_config().widths)
