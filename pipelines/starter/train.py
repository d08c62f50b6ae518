"""Trains the starter: first each stream on its own truth, which is cheap, then the fusion on the made-up world.

Knows corpus, world and schedule. Does not know how the result is judged or written.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.model import HctDmg
from hctdmg.training.metrics import pearson
from hctdmg.training.objectives import (
    full_objective,
    laplace_nll,
    read_streams,
    stream_objective,
)
from hctdmg.training.trainer import EpochResult, TrainingConfig, train
from pipelines.starter.corpus import Corpus, Passage
from pipelines.starter.mixture import (
    WIDTHS,
    LazyBatches,
    label,
    plan_batches,
    scene_batches,
    scenes_of,
    text_batches,
)
from pipelines.starter.world import World

Report = Callable[[str, EpochResult], None]


@dataclass(frozen=True)
class StarterConfig:
    """Everything that decides the weights.

    Attributes:
        seed: Of weights, dropout, composition and world.
        num_composed: Composed sentences to draw from.
        text_epochs: Epochs of the text stream alone.
        composed_per_epoch: Composed sentences in an epoch of the text stream.
        words_per_epoch: Single words in an epoch of the text stream.
        sense_epochs: Epochs of the audio and vision streams alone.
        scenes_per_sense_epoch: Samples of one.
        fusion_epochs: Epochs of the whole model.
        rated_per_fusion_epoch: Rated sentences in one.
        composed_per_fusion_epoch: Composed sentences and words in one, half each.
        without_text_per_fusion_epoch: Samples without text in one.
        select_scenes: Samples on which the best epoch is chosen.
    """

    seed: int = 1
    num_composed: int = 16_000
    text_epochs: int = 6
    composed_per_epoch: int = 5_000
    words_per_epoch: int = 2_500
    sense_epochs: int = 7
    scenes_per_sense_epoch: int = 6_000
    fusion_epochs: int = 3
    rated_per_fusion_epoch: int = 9_000
    composed_per_fusion_epoch: int = 3_000
    without_text_per_fusion_epoch: int = 2_500
    select_scenes: int = 700


MODEL = ModelConfig(
    modalities=(
        ModalityConfig("text", WIDTHS["text"], 3),
        ModalityConfig("audio", WIDTHS["audio"], 3),
        ModalityConfig("vision", WIDTHS["vision"], 3),
    ),
    input_dropout=0.2,
    # Dropping attention weights and residuals costs half of the training time on a CPU, for nothing that could
    # be measured: the world is drawn anew in every epoch.
    attention_dropout=0.0,
    residual_dropout=0.0,
    output_dropout=0.1,
)
TEXT_BATCH, SENSE_BATCH, FUSION_BATCH = 128, 128, 64


def train_starter(config: StarterConfig, corpus: Corpus, report: Report) -> HctDmg:
    """Train from scratch; the same configuration gives the same weights on the same machine."""
    torch.manual_seed(config.seed)
    model, world = HctDmg(MODEL), World()
    _set_statistics(model, corpus, world, config.seed)
    _train_text(model, corpus, config, report)
    _train_senses(model, world, config, report)
    _train_fusion(model, corpus, world, config, report)
    return model


def _set_statistics(model: HctDmg, corpus: Corpus, world: World, seed: int) -> None:
    rows = {"text": [passage.values_TD.astype(np.float32) for passage in corpus.rated["train"][::5]]}
    rows |= {"audio": [], "vision": []}
    for scenes in scenes_of(world, [], 1000, seed):
        for scene in scenes:
            for name, values_TD in scene.sample.items():
                rows[name].append(values_TD)
    statistics = {}
    for name, sequences in rows.items():
        values = np.concatenate(sequences).astype(np.float64)
        scale_D = np.maximum(values.std(axis=0), 1e-3)
        statistics[name] = (torch.tensor(values.mean(axis=0)), torch.tensor(scale_D))
    model.set_input_statistics(statistics)


def _train_text(model: HctDmg, corpus: Corpus, config: StarterConfig, report: Report) -> None:
    def make_epoch(epoch: int) -> LazyBatches:
        rng = np.random.default_rng([config.seed, 1, epoch])
        passages = [
            *corpus.rated["train"],
            *_some(corpus.composed, config.composed_per_epoch, rng),
            *_some(corpus.words, config.words_per_epoch, rng),
        ]
        return text_batches(passages, TEXT_BATCH, rng)

    chosen_on = text_batches(corpus.rated["select"], TEXT_BATCH, np.random.default_rng(config.seed))

    def correlation(model: HctDmg) -> float:
        said = torch.cat([read_streams(model, labelled.batch)["text"][:, 0] for labelled in chosen_on])
        truth = torch.cat([labelled.fused_B for labelled in chosen_on])
        return pearson(said.double().numpy(), truth.double().numpy())

    how = TrainingConfig(config.text_epochs, stream_learning_rate=2e-3, weight_decay=0.02, seed=config.seed)
    train(model, make_epoch, stream_objective, correlation, how, lambda result: report("text", result))


def _train_senses(model: HctDmg, world: World, config: StarterConfig, report: Report) -> None:
    def make_epoch(epoch: int) -> LazyBatches:
        rng = np.random.default_rng([config.seed, 2, epoch])
        plans = plan_batches([], config.scenes_per_sense_epoch, SENSE_BATCH, rng)
        return scene_batches(world, plans, (config.seed, 2, epoch))

    chosen_on = [label(scenes) for scenes in scenes_of(world, [], config.select_scenes, config.seed + 2)]

    def likelihood(model: HctDmg) -> float:
        return -float(np.mean([float(stream_objective(model, labelled)) for labelled in chosen_on]))

    how = TrainingConfig(config.sense_epochs, stream_learning_rate=3e-3, seed=config.seed)
    train(model, make_epoch, stream_objective, likelihood, how, lambda result: report("senses", result))


def _train_fusion(model: HctDmg, corpus: Corpus, world: World, config: StarterConfig, report: Report) -> None:
    def make_epoch(epoch: int) -> LazyBatches:
        rng = np.random.default_rng([config.seed, 3, epoch])
        passages = [
            *_some(corpus.rated["train"], config.rated_per_fusion_epoch, rng),
            *_some([*corpus.composed, *corpus.words], config.composed_per_fusion_epoch, rng),
        ]
        plans = plan_batches(passages, config.without_text_per_fusion_epoch, FUSION_BATCH, rng)
        return scene_batches(world, plans, (config.seed, 3, epoch))

    passages = corpus.rated["select"][: config.select_scenes]
    scenes = scenes_of(world, passages, config.select_scenes // 4, config.seed + 3)
    chosen_on = [label(batch) for batch in scenes]

    def likelihood(model: HctDmg) -> float:
        losses = [
            float(laplace_nll(model(labelled.batch).prediction_BK, labelled.fused_B)) * len(labelled.fused_B)
            for labelled in chosen_on
        ]
        return -sum(losses) / sum(len(labelled.fused_B) for labelled in chosen_on)

    how = TrainingConfig(
        config.fusion_epochs, learning_rate=1e-3, stream_learning_rate=1e-4, seed=config.seed
    )
    train(model, make_epoch, full_objective, likelihood, how, lambda result: report("fusion", result))


def _some(passages: list[Passage], number: int, rng: np.random.Generator) -> list[Passage]:
    chosen = rng.permutation(len(passages))[:number]
    return [passages[index] for index in chosen]
