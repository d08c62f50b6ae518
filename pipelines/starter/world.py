"""A made-up world in which words, faces and voices agree or contradict each other in known ways.

No one has labelled what our face and voice features mean, so their direction is taught from published ones:

- A smile goes with pleasant feeling, and its absence says nothing: activity of the smiling muscle rises with positive
  affect and is flat below neutral (Larsen, Norris & Cacioppo 2003, Psychophysiology 40, 776-785; Ekman, Davidson &
  Friesen 1990, JPSP 58, 342-353). A face's own truth therefore runs from 0 (no smile) to SMILE_SENTIMENT.
- Arousal raises loudness, its variability, the range and movement of pitch, and the share of high frequencies (Banse &
  Scherer 1996, JPSP 70, 614-636; Juslin & Laukka 2003, Psychological Bulletin 129, 770-814, table 7); valence
  is hardly heard (Goudbeek & Scherer 2010, JASA 128, 1322-1336). A voice's own truth therefore has a size that
  follows arousal and a sign that nothing in the voice tells: its head can only learn to be unsure.
- Arousal rises weakly with the strength of feeling, pleasant or not (Kuppens et al. 2013, Psych. Bull. 139, 917-940).
- People smile while they say unpleasant things, out of politeness or irony (Ekman 1985, Telling Lies, chapter 5).

The sequences come from processes whose parameters were measured on clips (`measured.json`). What the fused score should
say is a formula of the truths, in `Feeling`. Every size of an effect is a choice of ours: nothing here is
evidence about people.

Knows features by column name. Does not know models.

Shape suffixes: B samples, T steps, D columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines import audio, vision
from pipelines.smile import SmilePrior, load_prior
from pipelines.starter.measure import load_measured
from pipelines.starter.process import FloatArray, Process

SMILE_SENTIMENT = 2.4
"""Sentiment of a broad smile that lasts: about what people give "great" (3.1 of 4, which is 2.3 of 3)."""
FACE_WEIGHT = 0.5
"""Weight of a broad smile beside words, which weigh 1: words say more, and say it of what is spoken about."""
FACE_SHARE = (1.0, 3.0)
"""Under contradiction the face's share of the feeling is drawn from this Beta distribution: a quarter on average,
seldom more than half (irony, banter), for words that contradict a smile are mostly meant (a polite smile)."""
UNPLEASANT, SMILING = -0.5, 0.25
"""Words below and a mean smile above contradict each other."""


@dataclass(frozen=True)
class WorldConfig:
    """Sizes of the effects.

    Attributes:
        smile_rise: Mean and standard deviation over people of what a broad smile adds to the detector's log hits;
            2 to 2.5 by `pipelines.smile`.
        level_spread: Factor on the measured spread between clips: five clips show less of it than the world.
        least_level_spread: Spread between clips in units of the spread inside them, at least.
        gain_sd_db: Spread of microphone levels.
        arousal_effects: What arousal from 0 to 1 adds to an audio column, in standard deviations inside a clip.
        noise: Factor on everything that moves inside a sequence.
    """

    smile_rise: tuple[float, float] = (2.3, 0.35)
    level_spread: float = 2.0
    least_level_spread: float = 0.7
    gain_sd_db: float = 8.0
    arousal_effects: dict[str, float] = field(
        default_factory=lambda: {
            "loudness": 0.8, "loudness_std": 0.5, "loudness_range": 0.5, "pitch_std": 0.9, "jitter": 0.4,
            "shimmer": 0.2, "centroid": 0.8, "spread": 0.4, "rolloff": 0.7, "high_share": 0.7, "tilt": 0.8,
            "flux": 0.3, "zero_crossings": 0.6, "mfcc_0": 0.6, "mfcc_1": -0.7,
            **{f"mel_{band}": 0.2 + 0.6 * band / (audio.NUM_MEL - 1) for band in range(audio.NUM_MEL)},
        }
    )  # fmt: skip
    noise: float = 1.0


SHIFTED = WorldConfig(smile_rise=(2.0, 0.45), level_spread=2.6, gain_sd_db=10.0, noise=1.3)
"""Another world than the one trained in: weaker smiles, more various people, more noise. For the wiring's check."""


@dataclass(frozen=True)
class Feeling:
    """The truths of one sample; None where a modality is absent.

    Attributes:
        text: Sentiment of the words.
        smile: Mean of the smile in [0, 1].
        voice: A sentiment whose size the arousal gives and whose sign nothing tells.
        arousal: In [0, 1].
        face_share: Under contradiction: how much of the feeling is the face's, in [0, 1].
    """

    text: float | None
    smile: float | None
    voice: float | None
    arousal: float
    face_share: float

    @property
    def face(self) -> float | None:
        """Sentiment of the face."""
        return None if self.smile is None else SMILE_SENTIMENT * self.smile

    @property
    def is_conflict(self) -> bool:
        """Unpleasant words with a smile."""
        return (
            self.text is not None
            and self.smile is not None
            and self.text < UNPLEASANT
            and self.smile > SMILING
        )

    @property
    def fused(self) -> float:
        """What the fused score should say.

        The mean of words (weight 1) and face (weight FACE_WEIGHT x smile: a face without a smile is no evidence); the
        voice counts only alone. When words and smile contradict each other, nobody can tell how much of either is
        felt: text + face_share (face - text), with a share drawn at random. A Laplace likelihood then learns the
        middle of what may be, with a scale that grows with the distance of the two.
        """
        if self.text is None:
            face = self.face
            return face if face is not None else self.voice or 0.0
        if self.face is None or self.smile is None:
            return self.text
        if self.is_conflict:
            return self.text + self.face_share * (self.face - self.text)
        weight = FACE_WEIGHT * self.smile
        return (self.text + weight * self.face) / (1 + weight)


class World:
    """The processes, loaded.

    Args:
        config: Sizes of the effects.
    """

    def __init__(self, config: WorldConfig | None = None) -> None:
        self._config = config or WorldConfig()
        self._processes = load_measured().processes
        self._prior = load_prior()

    def draw_voices(
        self, arousal_B: FloatArray, num_steps: Sequence[int], rng: np.random.Generator
    ) -> list[npt.NDArray[np.float32]]:
        """Audio features, (T, 74) each."""
        process, config = self._processes["audio"], self._config
        level_BD = self._levels(process, len(arousal_B), rng)
        level_BD += (arousal_B[:, None] - 0.5) * self._arousal_effect_D(process)
        level_BD += rng.normal(0, config.gain_sd_db, (len(arousal_B), 1)) * _decibel_effect_D()
        x_BTD = self._draw(process, level_BD, max(num_steps), rng)
        # A lively voice moves its pitch more, not higher: the column is relative to the speaker's own median.
        x_BTD[:, :, audio.COLUMNS.index("pitch")] *= 0.7 + 0.6 * arousal_B[:, None]
        return _cut(x_BTD, num_steps)

    def draw_faces(
        self, smile_B: FloatArray, num_steps: Sequence[int], rng: np.random.Generator
    ) -> tuple[list[npt.NDArray[np.float32]], FloatArray]:
        """Vision features, (T, 35) each, and the mean smile that each sequence really shows, (B,).

        Args:
            smile_B: How broad the smile is at its height.
            num_steps: T of each.
            rng: Advanced.
        """
        process, config = self._processes["vision"], self._config
        level_BD = self._levels(process, len(smile_B), rng)
        evidence = vision.COLUMNS.index("smile_evidence")
        level_BD[:, evidence] = rng.normal(0, self._prior.between_sd, len(smile_B))
        x_BTD = self._draw(process, level_BD, max(num_steps), rng)
        x_BTD[:, :, evidence] += self._prior.mean - process.mean[evidence]
        smile_BT = _smile_course(smile_B, num_steps, rng)
        rise_B = np.maximum(rng.normal(*config.smile_rise, len(smile_B)), 0.5)
        x_BTD[:, :, evidence] = np.maximum(x_BTD[:, :, evidence] + rise_B[:, None] * smile_BT, 0)
        faces = _cut(x_BTD, num_steps)
        for face_TD in faces:
            _derive_smile(face_TD, self._prior)
        means = [float(row[:steps].mean()) for row, steps in zip(smile_BT, num_steps, strict=True)]
        return faces, np.array(means)

    def _levels(self, process: Process, num_samples: int, rng: np.random.Generator) -> FloatArray:
        config = self._config
        spread_D = np.maximum(
            config.level_spread * np.array(process.level_sd), config.least_level_spread * process.within_sd_D
        )
        return np.asarray(rng.standard_normal((num_samples, len(spread_D))) * spread_D)

    def _draw(
        self, process: Process, level_BD: FloatArray, num_steps: int, rng: np.random.Generator
    ) -> FloatArray:
        calm_B1D = (level_BD + np.array(process.mean))[:, None]
        moving_BTD = process.draw(level_BD, num_steps, rng) - calm_B1D
        return np.asarray(calm_B1D + self._config.noise * moving_BTD)

    def _arousal_effect_D(self, process: Process) -> FloatArray:
        effects_D = np.array([self._config.arousal_effects.get(name, 0.0) for name in audio.COLUMNS])
        return np.asarray(effects_D * process.within_sd_D)


def _decibel_effect_D() -> FloatArray:
    """What one decibel of recording level adds to each audio column."""
    natural = np.log(10) / 10
    effects = {f"mel_{band}": natural for band in range(audio.NUM_MEL)}
    # The zeroth cosine of the orthonormal transform sums all bands over the root of their number.
    effects |= {"mfcc_0": natural * np.sqrt(audio.NUM_MEL), "loudness": 1.0}
    return np.array([effects.get(name, 0.0) for name in audio.COLUMNS])


def _smile_course(
    smile_B: FloatArray, num_steps: Sequence[int], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(B, T): half of the smiles last throughout, the others come and go within the sequence."""
    course_BT = np.zeros((len(smile_B), max(num_steps)))
    for row, (height, steps) in enumerate(zip(smile_B, num_steps, strict=True)):
        begin, end = (0, steps) if rng.random() < 0.5 else sorted(rng.integers(0, steps + 1, 2))
        course_BT[row, begin:end] = height
    # A smile takes about half a second to come and to go: two steps.
    course_BT[:, 1:-1] = (course_BT[:, :-2] + 2 * course_BT[:, 1:-1] + course_BT[:, 2:]) / 4
    return course_BT


def _derive_smile(face_TD: npt.NDArray[np.float32], prior: SmilePrior) -> None:
    """Fill in the columns that the extractor computes from the evidence, by its own formulas."""
    column = {name: place for place, name in enumerate(vision.COLUMNS)}
    evidence_T = face_TD[:, column["smile_evidence"]]
    rise_T = evidence_T - prior.baseline(evidence_T)
    smile_T = prior.smile(rise_T)
    face_TD[:, column["smile"]] = smile_T
    face_TD[:, column["smile_rise"]] = rise_T
    face_TD[:, column["smile_delta"]] = np.diff(smile_T, prepend=smile_T[:1]) * vision.FRAMES_HZ


def _cut(x_BTD: FloatArray, num_steps: Sequence[int]) -> list[npt.NDArray[np.float32]]:
    return [row[:steps].astype(np.float32) for row, steps in zip(x_BTD, num_steps, strict=True)]
