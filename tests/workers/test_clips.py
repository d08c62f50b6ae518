import hashlib
import itertools
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.deadline import Deadline
from pipelines.decode import decode
from pipelines.media import MediaConfig
from pipelines.segment import Segment
from pipelines.vision import COLUMNS, FRAMES_HZ, VisionExtractor
from workers.clips import AUDIO_HZ, DURATION_S, KEY_FRAME_S, SCRIPTS, Clip, Script, draw_clips, timed_words


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    return {clip.name: clip for clip in draw_clips(tmp_path_factory.mktemp("clips"))}


@pytest.fixture(scope="module")
def vision() -> VisionExtractor:
    return VisionExtractor()


def test_clips_play_for_their_time_and_can_be_cut_at_key_frames(clips: dict[str, Clip]) -> None:
    assert len(clips) == len(SCRIPTS)
    for clip in clips.values():
        with av.open(str(clip.path)) as container:
            assert container.duration / av.time_base == pytest.approx(DURATION_S, abs=0.1)
            assert {stream.type for stream in container.streams} == {"video", "audio"}
            keys = [
                float(p.pts * p.time_base)
                for p in container.demux(video=0)
                if p.is_keyframe and p.pts is not None
            ]
        assert keys == [0.0, float(KEY_FRAME_S)]


def test_drawing_again_gives_the_same_bytes(clips: dict[str, Clip], tmp_path: Path) -> None:
    for again in draw_clips(tmp_path, SCRIPTS[:1]):
        assert _sha256(again.path) == _sha256(clips[again.name].path)


def test_every_word_is_heard_and_the_pauses_are_quiet(clips: dict[str, Clip]) -> None:
    for script in SCRIPTS:
        sound = _sound(clips[script.name].path)
        words = [word for word, _ in timed_words(script.lines)]
        for word in words:
            assert _loudness(sound, word.start_s, word.end_s) > 0.03, word
        for before, after in itertools.pairwise(words):
            if after.start_s - before.end_s > 1:
                assert _loudness(sound, before.end_s + 0.2, after.start_s - 0.2) < 0.003


def test_words_stay_within_their_segment() -> None:
    for script in SCRIPTS:
        for word, _ in timed_words(script.lines):
            assert word.start_s // KEY_FRAME_S == word.end_s // KEY_FRAME_S, (script.name, word)


def test_only_the_transcribed_clips_come_with_words(clips: dict[str, Clip]) -> None:
    for script in SCRIPTS:
        transcript = clips[script.name].transcript
        assert (transcript is not None) == script.is_transcribed
        if transcript is not None:
            assert " ".join(word.word for word in transcript.words) == " ".join(
                line for _, line in script.lines
            )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_shipped_detector_finds_the_face_in_every_frame_and_its_smile(
    clips: dict[str, Clip], vision: VisionExtractor, script: Script
) -> None:
    decoded = decode(clips[script.name].path.read_bytes(), MediaConfig(), Deadline.after(60))
    assert len(decoded.frames) == round(DURATION_S * FRAMES_HZ)
    track = vision.extract(Segment(stream_id="a", segment_id="a/0"), decoded)
    if script.smile is None:
        assert track.num_steps == 0
        return
    assert track.num_steps == len(decoded.frames)
    assert track.quality == 1
    smile_T = track.values_TD[:, COLUMNS.index("smile")]
    assert smile_T.min() > 0.8 if script.smile else smile_T.max() < 0.5


def _sound(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def _loudness(sound: np.ndarray, start_s: float, end_s: float) -> float:
    piece = sound[round(start_s * AUDIO_HZ) : round(end_s * AUDIO_HZ)]
    return float(np.sqrt(np.mean(piece**2)))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
