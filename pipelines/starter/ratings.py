"""Sentences rated by people: fetched at training time, checked, split by document. Never part of the repository.

Source: C. J. Hutto and E. E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
Media Text", ICWSM 2014. Its 23,700 sentences (tweets, product and film reviews, newspaper editorials), each rated
by at least 20 people from -4 to 4, lie in the source distribution of vaderSentiment 3.3.2 (MIT licence).

Knows files, sentences and splits. Does not know features or models.
"""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Split = Literal["train", "select", "calibrate", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SHARES = (0.72, 0.08, 0.10, 0.10)
"""Of the documents, in the order of SPLITS."""

SDIST = "vaderSentiment-3.3.2.tar.gz"
SDIST_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
REQUIREMENT = "vaderSentiment==3.3.2"
ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
CITATION = (
    "Hutto & Gilbert, VADER, ICWSM 2014: rated sentences inside the sdist of vaderSentiment 3.3.2 (MIT)"
)
FILES = {
    "tweets": "tweets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "films": "movieReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
}
"""File of each source inside the archive's folder."""
FETCH_TIMEOUT_S = 300

SENTIMENT_PER_RATING = 3.0 / 4.0
"""Ratings run from -4 to 4, sentiment from -3 to 3: linear, so that 0 stays 0 and the ends stay the ends."""


@dataclass(frozen=True)
class RatedSentence:
    """One sentence and what people made of it.

    Attributes:
        text: As it stands in the file.
        sentiment: Mean rating, in [-3, 3].
        source: A key of FILES.
        document: What it was cut from: a review or an article where the file says so, else the sentence itself.
    """

    text: str
    sentiment: float
    source: str
    document: str

    @property
    def split(self) -> Split:
        """The split that all sentences of its document belong to; the same in every training."""
        digest = hashlib.sha256(f"{self.source}/{self.document}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        for split, share in zip(SPLITS, SHARES, strict=True):
            place -= share
            if place < 0:
                return split
        return SPLITS[-1]


def fetch_sdist(cache: Path) -> Path:
    """The source distribution, from the cache folder or else by pip; checked in either case.

    Raises:
        RuntimeError: pip can't fetch it, or it is not the file that is expected. One line.
    """
    path = cache / SDIST
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-binary", ":all:", "--no-deps", "--dest", str(cache), REQUIREMENT]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)  # noqa: S603
        if done.returncode or not path.is_file():
            reason = (done.stderr.strip().splitlines() or ["no file came"])[-1]
            raise RuntimeError(
                f"pip can't download {REQUIREMENT}: {reason}; put {SDIST} into {cache} by hand"
            )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SDIST_SHA256:
        raise RuntimeError(f"{path} has sha256 {digest}, expected {SDIST_SHA256}: delete it and try again")
    return path


def read_ratings(sdist: Path) -> list[RatedSentence]:
    """All sentences, each wording once: a repetition could lie in two splits, so only the first stays."""
    with tarfile.open(sdist) as outer, tarfile.open(fileobj=io.BytesIO(_member(outer, ARCHIVE))) as inner:
        sentences = [
            sentence
            for source, name in FILES.items()
            for sentence in _parse(source, _member(inner, f"hutto_ICWSM_2014/{name}").decode("utf-8"))
        ]
    return _without_repetitions(sentences)


def plain_wording(text: str) -> str:
    """Words in lower case, without punctuation: two texts alike in this are one sentence."""
    return " ".join(re.findall(r"[\w']+", text.lower()))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is a file: the archive's digest was checked"
    return file.read()


def _parse(source: str, text: str) -> list[RatedSentence]:
    sentences = []
    for line in text.splitlines():
        identity, rating, sentence = line.split("\t")
        # "12_3" is the third sentence of review 12.
        document = identity.split("_")[0]
        sentences.append(RatedSentence(sentence, float(rating) * SENTIMENT_PER_RATING, source, document))
    return sentences


def _without_repetitions(sentences: Sequence[RatedSentence]) -> list[RatedSentence]:
    first: dict[str, RatedSentence] = {}
    for sentence in sentences:
        first.setdefault(plain_wording(sentence.text), sentence)
    return list(first.values())
