"""Sentences composed by a small grammar, and single words: what ratings of whole sentences teach too little of.

The rated sentences hold few short statements and few negations. These are composed from words that people rated
(the lexicon in vaderSentiment) and get their sentiment by a stated formula:

    rating   = mean of the words' ratings, moved away from 0 by 0.293 for each intensifier, towards it for each
               dampener                                             (Hutto & Gilbert 2014, table 3)
    negated  = -0.74 x rating                                       (vaderSentiment's N_SCALAR, measured by its authors)
    contrast = "A but B" counts a quarter of A and three quarters of B, as vaderSentiment's 0.5 : 1.5
    sentiment = rating x 3/4, clipped to [-3, 3]

Does not know features or models.
"""

import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter

from pipelines.starter.ratings import SENTIMENT_PER_RATING

NEGATION = -0.74
BOOST = 0.293
CONTRAST = (0.25, 0.75)
SHARE_NEUTRAL, SHARE_NEGATED, SHARE_CONTRAST, SHARE_JOINED = 0.15, 0.45, 0.06, 0.15


@dataclass(frozen=True)
class Grammar:
    """Words and frames, `grammar.json`; a frame's slot {adjective} takes an adjective, and so on.

    Attributes:
        words: Rated words by kind (adjective, verb, verbed, noun).
        slots: Unrated words by slot ({subject}, {object}, {thing}, ...).
        boosters: Intensifiers with 1, dampeners with -1.
        plain: Frames with one rated word, by kind.
        negated: The same with a negation.
        neutral: Frames without a rated word.
        openings: What may come before a sentence without changing its sentiment.
        closings: What may come after it.
    """

    words: dict[str, tuple[str, ...]]
    slots: dict[str, tuple[str, ...]]
    boosters: dict[str, int]
    plain: dict[str, tuple[str, ...]]
    negated: dict[str, tuple[str, ...]]
    neutral: tuple[str, ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...]


@dataclass(frozen=True)
class Composed:
    """A text and its sentiment in [-3, 3] by the formula."""

    text: str
    sentiment: float


class Composer:
    """The grammar and the ratings, loaded."""

    def __init__(self) -> None:
        self.grammar = load_grammar()
        self._ratings = load_word_ratings()

    def compose(self, num_sentences: int, seed: int) -> list[Composed]:
        """Sentences at random; the same for the same seed."""
        rng = np.random.default_rng(seed)
        return [self._sentence(rng) for _ in range(num_sentences)]

    def words(self) -> list[Composed]:
        """Each rated word that is made of letters, alone."""
        return [
            Composed(word, _sentiment(rating)) for word, rating in self._ratings.items() if word.isalpha()
        ]

    def _sentence(self, rng: np.random.Generator) -> Composed:
        kind = rng.random()
        if kind < SHARE_NEUTRAL:
            return Composed(self._framed(self._fill(_pick(rng, self.grammar.neutral), rng), rng), 0.0)
        text, rating = self._clause(rng)
        if kind < SHARE_NEUTRAL + SHARE_CONTRAST:
            second, second_rating = self._clause(rng)
            text = f"{text}, but {second}"
            rating = CONTRAST[0] * rating + CONTRAST[1] * second_rating
        elif kind < SHARE_NEUTRAL + SHARE_CONTRAST + SHARE_JOINED:
            second, second_rating = self._clause(rng, sign=float(np.sign(rating)))
            text = f"{text}{_pick(rng, (', ', ' and ', '. '))}{second}"
            rating = (rating + second_rating) / 2
        return Composed(self._framed(text, rng), _sentiment(rating))

    def _clause(self, rng: np.random.Generator, sign: float = 0.0) -> tuple[str, float]:
        """One clause and its rating; of the wanted sign where one is wanted."""
        while True:
            is_negated = rng.random() < SHARE_NEGATED
            frames = self.grammar.negated if is_negated else self.grammar.plain
            kind = _pick(rng, tuple(frames))
            word = _pick(rng, self.grammar.words[kind])
            rating = self._ratings[word]
            frame = _pick(rng, frames[kind])
            if "{booster}" in frame:
                booster = _pick(rng, tuple(self.grammar.boosters))
                frame = frame.replace("{booster}", booster)
                rating += float(np.sign(rating)) * BOOST * self.grammar.boosters[booster]
            rating *= NEGATION if is_negated else 1.0
            if sign * rating >= 0:
                return self._fill(frame.replace("{word}", word), rng), rating

    def _fill(self, frame: str, rng: np.random.Generator) -> str:
        for slot, choices in self.grammar.slots.items():
            while f"{{{slot}}}" in frame:
                frame = frame.replace(f"{{{slot}}}", _pick(rng, choices), 1)
        return frame

    def _framed(self, text: str, rng: np.random.Generator) -> str:
        opening = self._fill(_pick(rng, self.grammar.openings), rng) if rng.random() < 0.25 else ""
        closing = self._fill(_pick(rng, self.grammar.closings), rng) if rng.random() < 0.25 else ""
        return " ".join(part for part in (opening, text, closing) if part)


def load_grammar() -> Grammar:
    """The committed grammar."""
    text = (importlib.resources.files("pipelines.starter") / "grammar.json").read_bytes()
    return TypeAdapter(Grammar).validate_json(text)


def load_word_ratings() -> dict[str, float]:
    """Mean rating of each lexicon entry, in [-4, 4]."""
    lexicon = importlib.resources.files("vaderSentiment") / "vader_lexicon.txt"
    lines = filter(None, lexicon.read_text(encoding="utf-8").splitlines())
    return {entry: float(mean) for entry, mean in (line.strip().split("\t")[:2] for line in lines)}


def _sentiment(rating: float) -> float:
    return float(np.clip(rating * SENTIMENT_PER_RATING, -3, 3))


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
