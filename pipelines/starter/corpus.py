"""Everything that text is taught from, as features: rated sentences, composed ones, single words.

Knows texts and their sentiments. Does not know other modalities, nor models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.starter.ratings import SPLITS, RatedSentence, Split, fetch_sdist, plain_wording, read_ratings
from pipelines.starter.sentences import Composed, Composer
from pipelines.text import TextExtractor

MAX_WORDS = 60
"""Of a training sentence that are read: 0.4 % of them are longer, and they would set the length of their batch."""
NUM_UNSEEN = 3000
"""Composed sentences for the check of the wiring, before those that were trained on are left out."""
HALF = np.float16
"""Kept at half precision: the vectors in the wheel have no more."""


@dataclass(frozen=True)
class Passage:
    """A text as the model sees it.

    Attributes:
        values_TD: Features of its words, float16.
        sentiment: In [-3, 3].
        source: A key of `ratings.FILES`, "composed" or "word".
    """

    values_TD: npt.NDArray[np.float16]
    sentiment: float
    source: str


@dataclass(frozen=True)
class Corpus:
    """Rated sentences by split, and what is composed, which is trained on only.

    Attributes:
        rated: The rated sentences of each split.
        composed: Composed sentences to train on.
        unseen: Composed sentences with other wordings, for checking the wiring.
        words: Single words.
    """

    rated: dict[Split, list[Passage]]
    composed: list[Passage]
    unseen: list[Passage]
    words: list[Passage]


def load_corpus(cache: Path, num_composed: int, seed: int, max_rated: int | None = None) -> Corpus:
    """Fetch, compose and extract.

    Args:
        cache: Folder of the downloaded ratings.
        num_composed: Sentences to compose.
        seed: Of the composition.
        max_rated: Rated sentences to keep, for a quick try; None keeps all.

    Raises:
        RuntimeError: The ratings can't be fetched or are not the expected file.
    """
    return make_corpus(read_ratings(fetch_sdist(cache))[:max_rated], num_composed, seed)


def make_corpus(sentences: Sequence[RatedSentence], num_composed: int, seed: int) -> Corpus:
    """Extract the features of rated sentences and of what is composed beside them."""
    extractor, composer = TextExtractor(), Composer()
    rated: dict[Split, list[Passage]] = {split: [] for split in SPLITS}
    for sentence in sentences:
        passage = read_passage(extractor, sentence.text, sentence.sentiment, sentence.source)
        rated[sentence.split].append(passage)
    composed = composer.compose(num_composed, seed)
    seen = {plain_wording(text.text) for text in composed}
    others = composer.compose(NUM_UNSEEN, seed + 1)
    unseen = [text for text in others if plain_wording(text.text) not in seen]
    return Corpus(
        rated,
        [_composed(extractor, text, "composed") for text in composed],
        [_composed(extractor, text, "composed") for text in unseen],
        [_composed(extractor, text, "word") for text in composer.words()],
    )


def read_passage(extractor: TextExtractor, text: str, sentiment: float, source: str) -> Passage:
    """Features of a text."""
    values_TD = extractor.word_features(text.split()[:MAX_WORDS])
    return Passage(values_TD.astype(HALF), sentiment, source)


def _composed(extractor: TextExtractor, composed: Composed, source: str) -> Passage:
    return read_passage(extractor, composed.text, composed.sentiment, source)
