"""Batches of the made-up world: texts of the corpus with faces and voices, in every combination of what is present.

Knows passages, truths and batches. Does not know models or training.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch

from hctdmg.batch import Sample, collate
from hctdmg.training.objectives import LabelledBatch
from pipelines import audio, text, vision
from pipelines.starter.corpus import Passage
from pipelines.starter.world import FACE_SHARE, SMILE_SENTIMENT, Feeling, World

WIDTHS = {"text": text.WIDTH, "audio": audio.WIDTH, "vision": vision.WIDTH}
Presence = tuple[bool, bool, bool]
"""Whether there are text, audio and vision."""

WITH_TEXT: dict[Presence, float] = {
    (True, False, False): 0.30,
    (True, False, True): 0.20,
    (True, True, False): 0.15,
    (True, True, True): 0.35,
}
WITHOUT_TEXT: dict[Presence, float] = {
    (False, True, False): 0.25,
    (False, False, True): 0.30,
    (False, True, True): 0.45,
}
"""How often each combination comes, so that the model learns to do with any of them."""
WORDS_PER_S = (2.0, 4.0)
"""Slow and fast speech."""
PAUSES_S = (0.2, 2.0)
LONGEST_S = 12.0
SILENT_CLIP_S = (1.0, 10.0)
"""Length of a sample without text."""
SMILES_OF = {"pleasant": 0.6, "other": 0.4}
"""How often a face smiles; more often over unpleasant words than people do, for conflict is to be learned."""
SMILE_HEIGHT = (0.8, 1.0)
"""Of a smile: fainter ones raise the detector's evidence less than one person's neutral face differs from another's."""
STRENGTH_TO_AROUSAL, CALM, AROUSAL_SD = 0.5, 0.3, 0.2
"""Arousal = CALM + STRENGTH_TO_AROUSAL |sentiment| / 3 + noise, clipped to [0, 1]."""
VOICE_SIZE, VOICE_SIZE_PER_AROUSAL, VOICE_SIZE_SD = 0.8, 1.6, 0.8
"""Size of a voice's own truth: |normal(VOICE_SIZE + VOICE_SIZE_PER_AROUSAL arousal, VOICE_SIZE_SD)|."""


@dataclass(frozen=True)
class Scene:
    """One sample with its truths."""

    sample: Sample
    feeling: Feeling


@dataclass(frozen=True)
class Plan:
    """A sample before its face and voice are drawn; no passage means no text."""

    passage: Passage | None
    presence: Presence
    duration_s: float


def plan_batches(
    passages: Sequence[Passage], num_without_text: int, batch_size: int, rng: np.random.Generator
) -> list[list[Plan]]:
    """Who comes with whom: every batch has one combination of modalities and samples of like length.

    One combination, because roles then agree within the batch; like length, because padding costs time.
    """
    plans = [
        Plan(passage, _pick(WITH_TEXT, rng), _spoken_s(len(passage.values_TD), rng)) for passage in passages
    ]
    plans += [
        Plan(None, _pick(WITHOUT_TEXT, rng), float(rng.uniform(*SILENT_CLIP_S)))
        for _ in range(num_without_text)
    ]
    batches = []
    for presence in (*WITH_TEXT, *WITHOUT_TEXT):
        alike = [plan for plan in plans if plan.presence == presence]
        order = np.argsort([plan.duration_s + rng.normal(0, 0.5) for plan in alike])
        alike = [alike[index] for index in order]
        batches += [alike[start : start + batch_size] for start in range(0, len(alike), batch_size)]
    return [batches[index] for index in rng.permutation(len(batches))]


def make_scenes(world: World, plans: Sequence[Plan], rng: np.random.Generator) -> list[Scene]:
    """Draw the faces and voices of samples that have the same modalities."""
    _, has_audio, has_vision = plans[0].presence
    texts = [None if plan.passage is None else plan.passage.sentiment for plan in plans]
    samples: list[dict[str, np.ndarray]] = [
        {} if plan.passage is None else {"text": plan.passage.values_TD.astype(np.float32)} for plan in plans
    ]
    smiles: list[float | None] = [None] * len(plans)
    if has_vision:
        seen = [max(2, round(plan.duration_s * vision.FRAMES_HZ * rng.uniform(0.7, 1))) for plan in plans]
        heights = np.array([_smile_height(sentiment, rng) for sentiment in texts])
        faces, smile_B = world.draw_faces(heights, seen, rng)
        smiles = [float(smile) for smile in smile_B]
        for sample, face_TD in zip(samples, faces, strict=True):
            sample["vision"] = face_TD
    feelings = [
        _feel(sentiment, smile, has_audio, rng) for sentiment, smile in zip(texts, smiles, strict=True)
    ]
    if has_audio:
        heard = [max(2, round(plan.duration_s * audio.STEPS_HZ)) for plan in plans]
        voices = world.draw_voices(np.array([feeling.arousal for feeling in feelings]), heard, rng)
        for sample, voice_TD in zip(samples, voices, strict=True):
            sample["audio"] = voice_TD
    return [Scene(sample, feeling) for sample, feeling in zip(samples, feelings, strict=True)]


def label(scenes: Sequence[Scene]) -> LabelledBatch:
    """Collate scenes, with NaN for truths that aren't there."""
    feelings = [scene.feeling for scene in scenes]
    return LabelledBatch(
        collate([scene.sample for scene in scenes], WIDTHS),
        torch.tensor([feeling.fused for feeling in feelings]),
        {
            "text": _known([feeling.text for feeling in feelings]),
            "audio": _known([feeling.voice for feeling in feelings]),
            "vision": _known([feeling.face for feeling in feelings]),
        },
    )


class LazyBatches(Sequence[LabelledBatch]):
    """An epoch whose batches are made when they are asked for: together they would fill the memory.

    Args:
        num_batches: How many there are.
        make: Makes one by its index.
    """

    def __init__(self, num_batches: int, make: Callable[[int], LabelledBatch]) -> None:
        self._num_batches, self._make = num_batches, make

    def __len__(self) -> int:
        return self._num_batches

    @overload
    def __getitem__(self, index: int) -> LabelledBatch: ...
    @overload
    def __getitem__(self, index: slice) -> list[LabelledBatch]: ...
    def __getitem__(self, index: int | slice) -> LabelledBatch | list[LabelledBatch]:
        """The batch, or those of a slice, made anew."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        return self._make(index % len(self))


def scene_batches(world: World, plans: Sequence[Sequence[Plan]], seed: Sequence[int]) -> LazyBatches:
    """The batches of plans; each is the same whenever it is asked for."""

    def make(index: int) -> LabelledBatch:
        return label(make_scenes(world, plans[index], np.random.default_rng([*seed, index])))

    return LazyBatches(len(plans), make)


def text_batches(passages: Sequence[Passage], batch_size: int, rng: np.random.Generator) -> LazyBatches:
    """Texts alone, by like length."""
    order = np.argsort([len(passage.values_TD) + rng.normal(0, 2) for passage in passages])
    chunks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    shuffled = [chunks[place] for place in rng.permutation(len(chunks))]
    return LazyBatches(len(shuffled), lambda index: _text_batch([passages[i] for i in shuffled[index]]))


def _text_batch(passages: Sequence[Passage]) -> LabelledBatch:
    samples = [{"text": passage.values_TD.astype(np.float32)} for passage in passages]
    truth_B = torch.tensor([passage.sentiment for passage in passages])
    return LabelledBatch(collate(samples, WIDTHS), truth_B, {"text": truth_B})


def scenes_of(
    world: World, passages: Sequence[Passage], num_without_text: int, seed: int
) -> Iterator[list[Scene]]:
    """Scenes for calibrating and testing, a list for each batch."""
    rng = np.random.default_rng(seed)
    for plans in plan_batches(passages, num_without_text, 128, rng):
        yield make_scenes(world, plans, rng)


def _feel(sentiment: float | None, smile: float | None, has_audio: bool, rng: np.random.Generator) -> Feeling:
    shown = (
        sentiment
        if sentiment is not None
        else SMILE_SENTIMENT * smile
        if smile is not None
        else rng.normal(0, 1.3)
    )
    arousal = float(np.clip(CALM + STRENGTH_TO_AROUSAL * abs(shown) / 3 + rng.normal(0, AROUSAL_SD), 0, 1))
    size = abs(rng.normal(VOICE_SIZE + VOICE_SIZE_PER_AROUSAL * arousal, VOICE_SIZE_SD))
    voice = float(min(3.0, size) * rng.choice((-1, 1))) if has_audio else None
    return Feeling(sentiment, smile, voice, arousal, float(rng.beta(*FACE_SHARE)))


def _smile_height(sentiment: float | None, rng: np.random.Generator) -> float:
    share = SMILES_OF["pleasant" if sentiment is not None and sentiment > 0.5 else "other"]
    return float(rng.uniform(*SMILE_HEIGHT)) if rng.random() < share else 0.0


def _spoken_s(num_words: int, rng: np.random.Generator) -> float:
    return float(min(LONGEST_S, max(1.0, num_words / rng.uniform(*WORDS_PER_S) + rng.uniform(*PAUSES_S))))


def _pick(shares: dict[Presence, float], rng: np.random.Generator) -> Presence:
    presences = list(shares)
    return presences[int(rng.choice(len(presences), p=list(shares.values())))]


def _known(values: Sequence[float | None]) -> torch.Tensor:
    return torch.tensor([np.nan if value is None else value for value in values], dtype=torch.float32)
