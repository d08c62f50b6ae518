"""From a segment to features: stages, what is missing, what may not differ from one run to the next."""

import dataclasses
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from hctdmg.contract import FeatureContract
from pipelines.deadline import Deadline
from pipelines.errors import ConfigError, SegmentError
from pipelines.features import Track
from pipelines.media import MediaConfig
from pipelines.prepare import (
    DEFAULT_EXTRACTORS,
    EXTRACTORS,
    Preparer,
    extractor_contract,
)
from pipelines.prepared import PreparedSegment
from pipelines.segment import IncomingSegment, Segment, Transcript, Word
from pipelines.text import TextExtractor
from workers.drawn_face import Expression, Look, draw_face

Picture = npt.NDArray[np.uint8]
LOOK = Look((214, 168, 140), (62, 44, 34), (60, 92, 140), (150, 165, 175))
ALL = {"text", "audio", "vision"}


@pytest.fixture(scope="module")
def contract() -> FeatureContract:
    return extractor_contract(DEFAULT_EXTRACTORS)


@pytest.fixture(scope="module")
def preparer(contract: FeatureContract) -> Preparer:
    return Preparer(contract, MediaConfig())


def movie(pictures: Sequence[Picture] = (), sound: npt.NDArray[np.float32] | None = None) -> bytes:
    """An MP4 file of five frames a second and of 16 kHz sound."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=5) if len(pictures) else None
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        if video is not None:
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt, video.bit_rate = "yuv420p", 4_000_000
            for picture in pictures:
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode())
        if audio is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return target.getvalue()


def voice(length_s: float) -> npt.NDArray[np.float32]:
    times_s = np.arange(round(length_s * 16000)) / 16000
    wave = sum(np.sin(2 * np.pi * 140 * harmonic * times_s) / harmonic for harmonic in range(1, 10))
    return np.asarray(0.2 * wave, np.float32)


def faces(num_frames: int, smile: float = 1.0) -> list[Picture]:
    return [draw_face(320, 240, LOOK, Expression(smile))] * num_frames


def prepare(
    preparer: Preparer,
    media: bytes,
    transcript: Transcript | str | None = None,
    duration_s: float | None = None,
) -> PreparedSegment:
    segment = Segment(stream_id="s", segment_id="s/0", transcript=transcript, duration_s=duration_s)
    return preparer.prepare(IncomingSegment(segment, media), Deadline.after(60))


def present(prepared: PreparedSegment) -> set[str]:
    return {name for name, values_TD in prepared.features.items() if len(values_TD)}


def test_a_whole_segment(preparer: Preparer, contract: FeatureContract) -> None:
    prepared = prepare(preparer, movie(faces(10), voice(2.0)), "I love this")
    assert present(prepared) == ALL
    assert list(prepared.features) == list(contract.modalities)
    for name, values_TD in prepared.features.items():
        assert values_TD.shape[1] == contract.modalities[name].width
        assert values_TD.dtype == np.float32
        assert np.isfinite(values_TD).all()
        assert 0 < prepared.quality[name] <= 1
    assert len(prepared.features["text"]) == 3
    assert len(prepared.features["vision"]) == 10
    assert len(prepared.features["audio"]) == pytest.approx(20, abs=2)
    assert prepared.duration_s == pytest.approx(2.0, abs=0.15)
    assert set(prepared.timings_s) == {"fetch", "decode", "extract", "align"}
    assert all(seconds >= 0 for seconds in prepared.timings_s.values())


@pytest.mark.parametrize(
    ("media", "transcript", "expected"),
    [
        (movie(faces(5)), None, {"vision"}),
        (movie(sound=voice(1.0)), None, {"audio"}),
        (movie(sound=voice(1.0)), "hello there", {"audio", "text"}),
        (movie(faces(5), np.zeros(16000, np.float32)), None, {"vision"}),
        (movie([np.zeros((240, 320, 3), np.uint8)] * 5, voice(1.0)), " ", {"audio"}),
        (movie([np.zeros((240, 320, 3), np.uint8)] * 5), None, set()),
    ],
    ids=["no sound", "no pictures", "sound and words", "silence", "no face", "nothing"],
)
def test_what_is_missing_is_data(
    preparer: Preparer, media: bytes, transcript: str | None, expected: set[str]
) -> None:
    prepared = prepare(preparer, media, transcript)
    assert present(prepared) == expected
    assert {name for name, quality in prepared.quality.items() if quality > 0} == expected


def test_the_segments_own_duration_goes_before_the_medias(preparer: Preparer) -> None:
    assert prepare(preparer, movie(faces(5)), duration_s=0.9).duration_s == 0.9


def test_word_alignment_gives_each_modality_a_step_for_each_word() -> None:
    preparer = Preparer(extractor_contract(DEFAULT_EXTRACTORS, "word"), MediaConfig())
    words = Transcript(
        words=(Word(word="I", start_s=0.1, end_s=0.4), Word(word="know", start_s=0.4, end_s=0.9))
    )
    prepared = prepare(preparer, movie(faces(5), voice(1.0)), words)
    assert {name: len(values_TD) for name, values_TD in prepared.features.items()} == dict.fromkeys(ALL, 2)


def test_features_depend_on_nothing_but_the_segment(preparer: Preparer, contract: FeatureContract) -> None:
    segments = [
        (movie(faces(6, smile), voice(1.2)), text)
        for smile, text in ((1.0, "I hate it"), (0.0, None), (0.6, "so kind of you"))
    ]
    alone = [prepare(Preparer(contract, MediaConfig()), *segment) for segment in segments]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda segment: prepare(preparer, *segment), segments[::-1] * 3))
    for one, other in zip(alone[::-1] * 3, together, strict=True):
        for name, values_TD in one.features.items():
            np.testing.assert_array_equal(values_TD, other.features[name], err_msg=name)


def test_a_passed_deadline_stops_the_work(preparer: Preparer) -> None:
    segment = Segment(stream_id="s", segment_id="s/0")
    with pytest.raises(SegmentError, match="deadline"):
        preparer.prepare(IncomingSegment(segment, movie(faces(5))), Deadline.after(-1))


def test_whoever_is_told_that_the_media_are_there_says_until_when_they_are_worked_on(
    preparer: Preparer, tmp_path: Path
) -> None:
    told: list[Deadline] = []

    def pass_by(deadline: Deadline) -> Deadline:
        told.append(deadline)
        return Deadline.after(-1)

    given = Deadline.after(60)
    segment = Segment(stream_id="s", segment_id="s/0")
    with pytest.raises(SegmentError, match="deadline") as caught:
        preparer.prepare(IncomingSegment(segment, movie(faces(5))), given, pass_by)
    assert caught.value.stage == "decode"
    assert told == [given]
    absent = segment.model_copy(update={"uri": (tmp_path / "absent.mp4").as_uri()})
    with pytest.raises(SegmentError):
        preparer.prepare(IncomingSegment(absent), given, pass_by)
    assert told == [given]


def test_garbage_is_the_segments_fault(preparer: Preparer) -> None:
    with pytest.raises(SegmentError) as caught:
        prepare(preparer, b"garbage" * 1000)
    assert caught.value.stage == "decode"


def test_a_bug_in_an_extractor_stays_a_bug(
    monkeypatch: pytest.MonkeyPatch, contract: FeatureContract
) -> None:
    class Broken:
        contract = TextExtractor().contract

        def extract(self, *_: object) -> Track:
            raise ZeroDivisionError("a bug")

    monkeypatch.setitem(EXTRACTORS, "wordllama-lexicon", Broken)
    with pytest.raises(ZeroDivisionError):
        prepare(Preparer(contract, MediaConfig()), movie(faces(2)))


def test_a_checkpoint_of_other_features_is_refused_by_name(contract: FeatureContract) -> None:
    older = dataclasses.replace(contract.modalities["vision"], version="0")
    foreign = FeatureContract({**contract.modalities, "vision": older}, contract.alignment)
    with pytest.raises(ConfigError, match=r"vision\.version: '0' != '1'"):
        Preparer(foreign, MediaConfig())


def test_an_unknown_extractor_is_refused_with_the_known_ones(contract: FeatureContract) -> None:
    unknown = dataclasses.replace(contract.modalities["vision"], extractor="crystal-ball")
    with pytest.raises(ConfigError, match=r"'crystal-ball'.*haar-smile"):
        Preparer(FeatureContract({"vision": unknown}, "unaligned"), MediaConfig())


def test_a_checkpoint_may_use_fewer_modalities(contract: FeatureContract) -> None:
    fewer = FeatureContract({name: contract.modalities[name] for name in ("vision", "text")}, "unaligned")
    prepared = prepare(Preparer(fewer, MediaConfig()), movie(faces(3), voice(0.6)), "hello")
    assert list(prepared.features) == ["vision", "text"]


@pytest.mark.media
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("faces/d10.mp4", {"audio", "vision"}),
        ("faces/d18.mp4", {"vision"}),
        ("faces/lbax4n.mpg", {"audio", "vision"}),
        ("faces/s13.mp4", {"audio", "vision"}),
        ("odd/h264_10bits.mp4", set()),
        ("odd/nasa_13013.mp4", {"audio"}),
        ("odd/minimal.mp4", {"audio"}),
        ("odd/video_rotation_90.mp4", set()),
        ("speech/jfk.flac", {"audio"}),
    ],
)
def test_real_files(contract: FeatureContract, media_dir: Path, file: str, expected: set[str]) -> None:
    preparer = Preparer(contract, MediaConfig(allowed_roots=(str(media_dir),)))
    segment = Segment(stream_id="s", segment_id="s/0", uri=(media_dir / file).resolve().as_uri())
    prepared = preparer.prepare(IncomingSegment(segment), Deadline.after(60))
    assert present(prepared) == expected
    assert all(np.isfinite(values_TD).all() for values_TD in prepared.features.values())
