"""A segment, prepared for the model: fetch, decode, extract, align.

Knows the order of the stages and which extractors there are. Does not know Kafka's client, Ray or the model.
No state goes from one segment to the next, so that a replay gives the same features.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from hctdmg.contract import PRECOMPUTED, Alignment, FeatureContract
from pipelines.align import align
from pipelines.audio import AudioExtractor
from pipelines.deadline import Deadline
from pipelines.decode import decode
from pipelines.errors import ConfigError
from pipelines.features import Extractor, Track
from pipelines.fetch import fetch
from pipelines.media import WHOLE, MediaConfig, Span
from pipelines.pitch import SAMPLE_HZ
from pipelines.prepared import PreparedSegment
from pipelines.segment import IncomingSegment
from pipelines.text import TextExtractor
from pipelines.vision import FRAME_LONGEST_PX, FRAMES_HZ, VisionExtractor

EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "wordllama-lexicon": TextExtractor,
    "logmel-prosody": AudioExtractor,
    "haar-smile": VisionExtractor,
}
"""What can be extracted, by the name that a checkpoint's contract uses."""

DEFAULT_EXTRACTORS = {"text": "wordllama-lexicon", "audio": "logmel-prosody", "vision": "haar-smile"}
"""The extractor of each modality that needs nothing but the installed packages."""


class Preparer:
    """The extractors that a checkpoint demands, loaded; threads, and processes forked off, may share it.

    Args:
        contract: What the checkpoint was trained on.
        media: Limits.

    Raises:
        ConfigError: The installed extractors would make other features; names each difference.
    """

    def __init__(self, contract: FeatureContract, media: MediaConfig) -> None:
        names = {modality: wanted.extractor for modality, wanted in contract.modalities.items()}
        self._extractors = make_extractors(names)
        self._alignment = contract.alignment
        self._media = media
        if differences := contract.differences(_contract_of(self._extractors, contract.alignment)):
            raise ConfigError(
                "the checkpoint needs other features than this version extracts (checkpoint != here): "
                + "; ".join(differences)
                + "; install the version it was trained with, or train it anew"
            )

    @property
    def contract(self) -> FeatureContract:
        """What the features are."""
        return _contract_of(self._extractors, self._alignment)

    def prepare(
        self,
        incoming: IncomingSegment,
        deadline: Deadline,
        fetched: Callable[[Deadline], Deadline] = lambda deadline: deadline,
        span: Span = WHOLE,
    ) -> PreparedSegment:
        """Turn a segment into features.

        Args:
            incoming: The segment.
            deadline: When to stop.
            fetched: Called once, when the media are there, before anything is computed; it may wait, and returns the
                deadline, later by the wait.
            span: Which part of its media it is; all of them, unless they were cut out of a labelled video.

        Raises:
            SegmentError: The segment can't be prepared, or the deadline passed.
            RetryableError: Its media can't be fetched just now.
        """
        segment = incoming.segment
        timings_s: dict[str, float] = {}
        with _timed(timings_s, "fetch"):
            media = fetch(segment, incoming.inline, self._media, deadline)
        deadline = fetched(deadline)
        with _timed(timings_s, "decode"):
            decoded = decode(
                media,
                self._media,
                deadline,
                span=span,
                frames_hz=FRAMES_HZ,
                frame_width_px=FRAME_LONGEST_PX,
                audio_hz=SAMPLE_HZ,
            )
        tracks: dict[str, Track] = {}
        with _timed(timings_s, "extract"):
            for modality, extractor in self._extractors.items():
                deadline.check("extract")
                tracks[modality] = extractor.extract(segment, decoded)
        with _timed(timings_s, "align"):
            deadline.check("align")
            features = align(tracks, self._alignment)
        return PreparedSegment(
            segment=segment,
            features=features,
            quality={modality: track.quality for modality, track in tracks.items()},
            duration_s=decoded.duration_s if segment.duration_s is None else segment.duration_s,
            timings_s=timings_s,
        )


def extractor_contract(names: Mapping[str, str], alignment: Alignment = "unaligned") -> FeatureContract:
    """The contract that extractors of this version fulfil.

    Args:
        names: The extractor's name of each modality.
        alignment: How their tracks are aligned.

    Raises:
        ConfigError: There is no such extractor.
    """
    return _contract_of(make_extractors(names), alignment)


def make_extractors(names: Mapping[str, str]) -> dict[str, Extractor]:
    """Load the extractor of each modality.

    Raises:
        ConfigError: There is no such extractor.
    """
    if PRECOMPUTED in names.values():
        raise ConfigError(
            "the checkpoint was trained on ready-made features, which nothing here makes of a video: it can be "
            "evaluated, not served; train on features of `hctdmg extract`"
        )
    for modality, name in names.items():
        if name not in EXTRACTORS:
            known = ", ".join(EXTRACTORS)
            raise ConfigError(f"{modality}: this version has no extractor {name!r}; it has {known}")
    return {modality: EXTRACTORS[name]() for modality, name in names.items()}


def _contract_of(extractors: Mapping[str, Extractor], alignment: Alignment) -> FeatureContract:
    contracts = {modality: extractor.contract for modality, extractor in extractors.items()}
    return FeatureContract(contracts, alignment)


@contextmanager
def _timed(timings_s: dict[str, float], stage: str) -> Iterator[None]:
    begun_s = time.perf_counter()
    yield
    timings_s[stage] = time.perf_counter() - begun_s
