"""One labelled stretch of video into one sample of features, by the code that serves.

A sample's file is named after all that decides its numbers: the video's bytes, the stretch, the words, the extractors
and the packages that they compute with. So what is already there is taken as it is after a check, whatever else has
changed in the manifest. Knows rows and features. Does not know how many run at a time.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

from hctdmg.contract import Alignment, FeatureContract
from hctdmg.data.errors import DataError
from hctdmg.data.own import StoredSample, load_sample, save_sample
from pipelines.deadline import Deadline
from pipelines.errors import SegmentError
from pipelines.excerpt import excerpt
from pipelines.features import FloatArray
from pipelines.labelled import Row
from pipelines.media import MediaConfig
from pipelines.prepare import DEFAULT_EXTRACTORS, Preparer, extractor_contract
from pipelines.segment import IncomingSegment, Segment, Transcript
from pipelines.videos import check_unchanged

PACKAGES = ("hctdmg", "av", "numpy", "opencv-python-headless")
"""What decides the numbers beside the versions that the contract holds."""


def versions() -> dict[str, str]:
    """Of those packages, as they are installed here."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@dataclass(frozen=True)
class ExtractionPlan:
    """All that whoever extracts must know, whichever process it is in.

    Attributes:
        folder: Where samples go.
        alignment: Of the features.
        media: Limits on a stretch.
        deadline_s: How long one stretch may take.
    """

    folder: Path
    alignment: Alignment
    media: MediaConfig
    deadline_s: float

    @property
    def contract(self) -> FeatureContract:
        """What the features will be; loads the extractors."""
        return extractor_contract(DEFAULT_EXTRACTORS, self.alignment)


@dataclass(frozen=True)
class Outcome:
    """What became of one row.

    Attributes:
        line: Of the manifest.
        stored: The sample; None when there is none.
        is_reused: Whether it was there before.
        reason: Why there is none, one line.
    """

    line: int
    stored: StoredSample | None = None
    is_reused: bool = False
    reason: str | None = None


class RowExtractor:
    """The extractors, loaded.

    Args:
        plan: What to do.
    """

    def __init__(self, plan: ExtractionPlan) -> None:
        contract = plan.contract
        self._plan = plan
        self._preparer = Preparer(contract, _with_lead(plan.media))
        self._made_by = [dataclasses.asdict(contract), versions()]
        self._widths = {name: one.width for name, one in contract.modalities.items()}

    def extract(self, row: Row) -> Outcome:
        """Make one row's sample, unless it is there; what is wrong with the video is part of the outcome.

        Raises:
            OSError: The sample can't be written.
        """
        try:
            key = self._key(row)
            kept = self._kept(key)
            features = None if kept else self._features(row)
        except SegmentError as error:
            return Outcome(row.line, reason=str(error))
        except Exception as error:  # noqa: BLE001 - one odd video must not end the work on all others
            return Outcome(row.line, reason=f"extract: unexpected {type(error).__name__}: {error}"[:500])
        stored = kept or save_sample(self._plan.folder, key, features or {})
        if not any(stored.num_steps.values()):
            return Outcome(row.line, reason="extract: nothing to learn from: no words, no sound and no face")
        return Outcome(row.line, stored, is_reused=kept is not None)

    def _key(self, row: Row) -> str:
        words = row.transcript
        spoken = words.model_dump(mode="json") if isinstance(words, Transcript) else words
        decides = [row.video.sha256, row.start_s, row.end_s, spoken, row.language, self._made_by]
        text = json.dumps(decides, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    def _kept(self, key: str) -> StoredSample | None:
        try:
            return load_sample(self._plan.folder, key, self._widths)[1]
        except DataError:
            return None  # not there, or damaged: it is made anew

    def _features(self, row: Row) -> dict[str, FloatArray]:
        check_unchanged(row.path, row.video)
        piece = excerpt(row.path, row.start_s, row.end_s, self._plan.media)
        segment = Segment(
            stream_id="manifest",
            segment_id=f"manifest/{row.line}",
            transcript=row.transcript,
            language=row.language,
        )
        deadline = Deadline.after(self._plan.deadline_s)
        return self._preparer.prepare(
            IncomingSegment(segment, piece.data), deadline, span=piece.span
        ).features


def _with_lead(media: MediaConfig) -> MediaConfig:
    """Limits on what is decoded: a stretch, and as much again from the key frame before it."""
    doubled = {"max_duration_s": 2 * media.max_duration_s, "max_frames": 2 * media.max_frames}
    return media.model_copy(update=doubled)
