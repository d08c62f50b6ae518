"""Contextual vectors come from a local folder alone, and stand where the static ones stand."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import BertConfig, BertModel, BertTokenizerFast

from hctdmg.experiments.harness import execute
from hctdmg.experiments.report import read_records
from hctdmg.experiments.setup import QUICK
from pipelines.contextual import ContextualEncoder
from pipelines.errors import ConfigError
from pipelines.text_experiment import make_data, text_experiment

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film", "not", "##s", "the", "a", "is"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real encoder, tiny and untrained, as `save_pretrained` writes one."""
    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        )
    ).save_pretrained(folder)
    return folder


def test_a_word_has_one_vector_that_depends_on_the_others(encoder: Path) -> None:
    vectors = ContextualEncoder(encoder).word_vectors
    plain, negated = vectors(["good", "films"]), vectors(["not", "good", "films"])
    assert (plain.shape, negated.shape) == ((2, 16), (3, 16))
    assert not np.allclose(plain[0], negated[1])
    assert vectors(["good", "films"]) == pytest.approx(plain)


def test_both_kinds_have_the_same_steps_labels_and_other_modalities(encoder: Path) -> None:
    world = QUICK.world(0)
    contextual = make_data(QUICK, world, 0, ContextualEncoder(encoder).word_vectors)
    other = make_data(QUICK, world, 0, lambda words: np.ones((len(words), 3), np.float32))
    for name, split in contextual.splits.items():
        assert (split.masks["text"] == other.splits[name].masks["text"]).all()
        assert (split.labels_NK == other.splits[name].labels_NK).all()
        assert (split.features["audio"] == other.splits[name].features["audio"]).all()
        assert (split.unimodal["vision"] == split.labels_NK[:, 0]).all()
    assert len({split.features["text"].shape[1] for split in contextual.splits.values()}) == 1


def test_the_experiment_runs_with_an_encoder(encoder: Path, tmp_path: Path) -> None:
    experiment = text_experiment(encoder)
    execute([experiment], (0,), QUICK, tmp_path)
    assert [row[1] for row in experiment.read(read_records(tmp_path, experiment)).tables[0].rows] == [1, 1]


def test_what_is_no_encoder_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        ContextualEncoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match="no encoder that can be loaded") as error:
        ContextualEncoder(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="--encoder DIR"):
        text_experiment(None).measure("contextual", 0, QUICK)
