"""Text features: each word as the mean of its static token vectors, with what a sentiment lexicon says of it.

Knows English words and their times. Does not know speech: a transcript comes with the segment. The vectors
are those inside the `wordllama` wheel, the lexicon is the one inside vaderSentiment; both are read as files,
nothing is downloaded.
"""

import importlib.metadata
import importlib.resources
import importlib.util
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from tokenizers import Tokenizer
from vaderSentiment.vaderSentiment import BOOSTER_DICT, NEGATE

from hctdmg.contract import ModalityContract
from pipelines.decode import Decoded
from pipelines.errors import SegmentError
from pipelines.features import FloatArray, Track, absent
from pipelines.segment import Segment, Transcript, Word
from pipelines.transcript import place_words
from pipelines.voicing import pitch_of, spans_of

VECTOR_WIDTH = 256
LEXICON_COLUMNS = ("valence", "negator", "booster", "contrast")
WIDTH = VECTOR_WIDTH + len(LEXICON_COLUMNS)
MAX_WORDS = 512
"""Per segment: twice what fast speech (4 words a second) has in the longest segment allowed by default."""
MAX_WORD_CHARACTERS = 64
"""Of a word that are looked at: longer ones are no words."""
CONTRASTS = frozenset(("but", "however", "though", "although", "yet", "nevertheless", "nonetheless"))
"""Words after which the weight of a sentence lies on what follows."""
NEGATORS = frozenset((*NEGATE, "no", "nobody"))
"""vaderSentiment handles "no" by a rule of its own instead of its list."""
BOOSTER_UNIT = 0.293
"""What one intensifier adds to a valence in vaderSentiment; dampeners have the opposite sign."""
LANGUAGES = frozenset(("en", "und", "mul"))
"""Language subtags that may hold English. Elsewhere the lexicon misleads: German "die" means "the"."""
EDGES = "".join(chr(code) for code in range(33, 127) if not chr(code).isalnum()) + (
    "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb\u2026\u2013\u2014\u00bf\u00a1"
)
"""Punctuation that may cling to a word: ASCII's, curly and angled quotes, ellipsis, dashes, ¿ and ¡."""


class TextExtractor:
    """The vectors and the lexicon, loaded; nothing changes after that, so threads may share it."""

    def __init__(self) -> None:
        folder = _wordllama_folder()
        self._tokenizer = Tokenizer.from_file(
            str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json")
        )
        with safe_open(str(folder / "weights" / "l2_supercat_256.safetensors"), "np") as weights:
            self._vectors_VD = weights.get_tensor("embedding.weight")
        self._valences, self._emoji = _read_lexicon()
        self.contract = ModalityContract(
            extractor="wordllama-lexicon",
            version="1",
            width=WIDTH,
            rate_hz=None,
            settings={
                "wordllama": importlib.metadata.version("wordllama"),
                "vaderSentiment": importlib.metadata.version("vaderSentiment"),
            },
        )

    def extract(self, segment: Segment, decoded: Decoded) -> Track:
        """One step for each word; absent without words, or when the segment's language isn't English.

        Raises:
            SegmentError: The transcript has more than MAX_WORDS words.
        """
        language = (segment.language or "und").lower().replace("_", "-").split("-")[0]
        words = _timed_words(segment.transcript, decoded) if language in LANGUAGES else ()
        if not words:
            return absent(WIDTH)
        texts = [word.word for word in words]
        # Producers may be wrong about the end; a word beyond it is placed at the end.
        times_T2 = np.clip([(word.start_s, word.end_s) for word in words], 0, decoded.duration_s)
        return Track(self.word_features(texts), times_T2.astype(np.float32), self.known_share(texts))

    def word_features(self, words: Sequence[str]) -> FloatArray:
        """Features of words in the order in which they are said.

        Args:
            words: With or without case and punctuation.

        Returns:
            (T, 260): mean of the word's token vectors (256), valence in [-4, 4] as people rated it, negator
            0 or 1, booster -1, 0 or 1, contrast 0 or 1.
        """
        values_TD = np.zeros((len(words), WIDTH), np.float32)
        plain = [self._plain(word) for word in words]
        for step, text in enumerate(plain):
            tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
            if tokens:
                values_TD[step, :VECTOR_WIDTH] = self._vectors_VD[tokens].astype(np.float32).mean(axis=0)
            values_TD[step, VECTOR_WIDTH:] = self._lexicon_features(text)
            if step and f"{plain[step - 1]} {text}" in BOOSTER_DICT:
                # "kind of" is no kindness.
                values_TD[step - 1, VECTOR_WIDTH:] = 0
                values_TD[step, VECTOR_WIDTH + 2] = BOOSTER_DICT[f"{plain[step - 1]} {text}"] / BOOSTER_UNIT
        return values_TD

    def known_share(self, words: Sequence[str]) -> float:
        """Share of words that are no jumble: in the lexicon, or of tokens two characters long on average."""
        return sum(self._is_known(self._plain(word)) for word in words) / max(1, len(words))

    def _is_known(self, text: str) -> bool:
        # Tokens end at an apostrophe, so that "I'm" would be a jumble.
        letters = text.replace("'", "")
        num_tokens = len(self._tokenizer.encode(letters, add_special_tokens=False).ids)
        return text in self._valences or 0 < 2 * num_tokens <= len(letters) + 1

    def _plain(self, word: str) -> str:
        """The word in lower case without punctuation; an emoji as its name; a smiley as it is."""
        text = (
            unicodedata.normalize("NFKC", word[:MAX_WORD_CHARACTERS]).replace("\u2019", "'").lower().strip()
        )
        if text in self._valences:
            return text
        named = "".join(f" {self._emoji[letter]} " if letter in self._emoji else letter for letter in text)
        stripped = [part.strip(EDGES) for part in named.split()]
        return " ".join(part for part in stripped if part) or text

    def _lexicon_features(self, text: str) -> tuple[float, float, float, float]:
        parts = [text, *text.split()]
        valence = max((self._valences.get(part, 0.0) for part in parts), key=abs)
        negator = any(part in NEGATORS or part.endswith("n't") for part in parts)
        booster = next((BOOSTER_DICT[part] / BOOSTER_UNIT for part in parts if part in BOOSTER_DICT), 0.0)
        return valence, float(negator), booster, float(any(part in CONTRASTS for part in parts))


def _timed_words(transcript: Transcript | str | None, decoded: Decoded) -> Sequence[Word]:
    if transcript is None:
        return ()
    if isinstance(transcript, Transcript):
        spoken = [word for word in transcript.words if word.word.strip()]
        _check_count(len(spoken))
        return sorted(spoken, key=lambda word: (word.start_s, word.end_s))
    num_words = len(transcript.split())
    _check_count(num_words)
    if num_words == 0:
        return ()
    length_s = 0.0 if decoded.audio is None else len(decoded.audio) / decoded.audio_hz
    return place_words(transcript, spans_of(pitch_of(decoded), length_s), decoded.duration_s)


def _check_count(num_words: int) -> None:
    if num_words > MAX_WORDS:
        raise SegmentError(
            "extract",
            f"transcript: {num_words} words in one segment, at most {MAX_WORDS} are read; "
            "send each segment only the words that are said in it",
        )


def _wordllama_folder() -> Path:
    """Where the wheel's files lie, found without an import: that would set up logging and an HTTP client."""
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package wordllama, which holds the word vectors, is not installed")
    return Path(spec.origin).parent


def _read_lexicon() -> tuple[dict[str, float], dict[str, str]]:
    """Mean rating of each lexicon entry, and the name of each emoji."""
    package = importlib.resources.files("vaderSentiment")
    ratings = (package / "vader_lexicon.txt").read_text(encoding="utf-8").splitlines()
    emoji = (package / "emoji_utf8_lexicon.txt").read_text(encoding="utf-8").splitlines()
    valences = {}
    for line in filter(None, ratings):
        entry, mean = line.strip().split("\t")[:2]
        valences[entry] = float(mean)
    return valences, dict(line.strip().split("\t")[:2] for line in filter(None, emoji))
