"""Audio features: pitch on known tones, voice and silence, and whatever a file may hold instead of sound."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.audio import COLUMNS, AudioExtractor
from pipelines.deadline import Deadline
from pipelines.decode import Decoded, decode
from pipelines.features import Track
from pipelines.media import MediaConfig
from pipelines.pitch import track_pitch
from pipelines.segment import Segment
from pipelines.voicing import pitch_of, voiced_spans

HZ = 16000
SEGMENT = Segment(stream_id="s", segment_id="s/0")
Sound = npt.NDArray[np.float32]
EXTRACTOR = AudioExtractor()


def extract(audio: npt.NDArray[np.floating] | None, audio_hz: int = HZ) -> Track:
    length_s = 1.0 if audio is None else len(audio) / audio_hz
    sound = None if audio is None else audio.astype(np.float32)
    return EXTRACTOR.extract(SEGMENT, Decoded(length_s, sound, audio_hz, ()))


def column(track: Track, name: str) -> Sound:
    return track.values_TD[:, COLUMNS.index(name)]


def tone(hz: npt.NDArray[np.floating], harmonics: range = range(1, 2), level: float = 0.3) -> Sound:
    """Harmonics of a pitch that may change from sample to sample."""
    phase = 2 * np.pi * np.cumsum(hz) / HZ
    wave = sum(np.sin(harmonic * phase) / harmonic for harmonic in harmonics)
    return np.asarray(level * wave, np.float32)


def steady(hz: float, length_s: float = 1.0) -> npt.NDArray[np.float64]:
    return np.full(round(length_s * HZ), hz)


@pytest.mark.parametrize("hz", [80, 95, 120, 165, 220, 300, 400])
@pytest.mark.parametrize(
    "harmonics", [range(1, 2), range(1, 12), range(2, 8)], ids=["sine", "voice", "no fundamental"]
)
def test_pitch_of_a_known_tone_within_two_per_cent(hz: float, harmonics: range) -> None:
    found_hz = track_pitch(tone(steady(hz), harmonics)).hz_F[3:-3]
    np.testing.assert_allclose(found_hz, hz, rtol=0.02)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(100, 300), (350, 90)])
def test_pitch_follows_a_glide_without_an_octave_jump(from_hz: float, to_hz: float) -> None:
    hz = np.geomspace(from_hz, to_hz, 2 * HZ)
    found_hz = track_pitch(tone(hz, range(1, 10))).hz_F
    middle = np.arange(len(found_hz)) * 160 + 80
    np.testing.assert_allclose(found_hz[5:-5], hz[middle][5:-5], rtol=0.02)


def test_pitch_survives_noise_at_ten_decibels() -> None:
    voice = tone(steady(140), range(1, 12), level=0.2)
    noise = np.random.default_rng(1).normal(0, voice.std() / np.sqrt(10), len(voice))
    found_hz = track_pitch((voice + noise).astype(np.float32)).hz_F[5:-5]
    assert np.mean(np.abs(found_hz / 140 - 1) < 0.02) > 0.98


def test_white_noise_has_no_pitch() -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, 3 * HZ).astype(np.float32)
    assert track_pitch(noise).is_voiced.mean() < 0.02
    assert voiced_spans(noise, HZ) == []
    track = extract(noise)
    assert track.num_steps == 30
    assert track.quality == pytest.approx(0.1)


def test_columns_are_74_different_names() -> None:
    assert len(set(COLUMNS)) == 74 == EXTRACTOR.contract.width


@pytest.mark.parametrize(("length_s", "num_steps"), [(1.0, 10), (0.95, 10), (0.01, 1), (2.31, 24)])
def test_steps_of_a_tenth_of_a_second_cover_the_sound(length_s: float, num_steps: int) -> None:
    track = extract(tone(steady(200, length_s)))
    assert track.values_TD.shape == (num_steps, 74)
    np.testing.assert_allclose(track.times_T2[1:, 0], track.times_T2[:-1, 1], atol=1e-6)
    assert track.times_T2[0, 0] == 0
    assert track.times_T2[-1, 1] == pytest.approx(length_s, abs=1e-5)


@pytest.mark.parametrize(
    "audio",
    [
        None,
        np.zeros(0),
        np.zeros(HZ),
        np.full(HZ, 1e-30),
        np.full(HZ, 0.9),
        np.random.default_rng(0).normal(0, 1e-4, HZ),
    ],
    ids=["no track", "no sample", "zeros", "denormal", "offset", "noise floor"],
)
def test_silence_is_absence(audio: npt.NDArray[np.floating] | None) -> None:
    track = extract(audio)
    assert track.values_TD.shape == (0, 74)
    assert track.times_T2.shape == (0, 2)
    assert track.quality == 0


@given(
    arrays.arrays(
        np.float32,
        st.integers(0, 3000),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
        fill=st.sampled_from([np.float32(0), np.float32(1), np.float32(-1), np.float32(1e-30)]),
    )
)
def test_any_samples_give_finite_features(audio: Sound) -> None:
    track = extract(audio)
    assert np.isfinite(track.values_TD).all()
    assert 0 <= track.quality <= 1
    assert len(track.times_T2) == track.num_steps


@pytest.mark.parametrize("kind", ["clipped", "impulse", "nyquist", "full-scale"])
def test_harsh_sounds_give_finite_features(kind: str) -> None:
    noise = np.random.default_rng(3).normal(0, 1, HZ)
    sounds = {
        "clipped": np.sign(noise),
        "impulse": np.eye(1, HZ, HZ // 2)[0],
        "nyquist": np.resize([1.0, -1.0], HZ),
        "full-scale": 100 * noise,
    }
    with np.errstate(all="raise", under="ignore"):
        track = extract(sounds[kind])
    assert track.num_steps == 10
    assert np.isfinite(track.values_TD).all()


def test_pitch_is_relative_to_the_segments_own() -> None:
    low, high = (extract(tone(np.geomspace(hz, hz * 1.5, HZ), range(1, 8))) for hz in (100, 200))
    np.testing.assert_allclose(column(low, "pitch"), column(high, "pitch"), atol=0.03)
    assert (np.diff(column(low, "pitch")) > 0).all()
    assert column(low, "pitch_delta")[3:-3] == pytest.approx(np.log2(1.5), abs=0.1)


def test_columns_say_what_is_heard() -> None:
    loud = tone(steady(150), range(1, 12), level=0.2)
    hiss = np.random.default_rng(4).normal(0, 0.02, HZ)
    track = extract(np.concatenate([loud, loud / 10, hiss]))
    first, second, third = (slice(start + 1, start + 9) for start in (0, 10, 20))
    loudness = column(track, "loudness")
    assert loudness[first].mean() - loudness[second].mean() == pytest.approx(20, abs=0.5)
    assert loudness[0] == pytest.approx(10 * np.log10(np.square(loud).mean()), abs=1)
    assert column(track, "voiced")[first].min() == 1
    assert column(track, "voiced")[third].max() == 0
    for name in ("centroid", "zero_crossings", "high_share", "flatness", "flux"):
        assert column(track, name)[third].min() > column(track, name)[first].max(), name
    assert column(track, "harmonicity")[first].min() > column(track, "harmonicity")[third].max() + 10


def test_louder_sound_changes_level_only() -> None:
    quiet = tone(steady(180) * np.linspace(1, 1.2, HZ), range(1, 9), level=0.05)
    soft, loud = extract(quiet), extract(4 * quiet)
    shift = 10 * np.log10(16)
    np.testing.assert_allclose(column(loud, "loudness") - column(soft, "loudness"), shift, atol=0.01)
    for name in ("loudness_relative", "pitch", "periodicity", "centroid", "jitter"):
        np.testing.assert_allclose(column(loud, name), column(soft, name), atol=0.02, err_msg=name)


def test_another_rate_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="8000 Hz"):
        extract(np.ones(8000), 8000)


def test_voice_is_found_where_it_is() -> None:
    times_s = np.arange(4 * HZ) / HZ
    is_heard = ((times_s > 0.5) & (times_s < 1.2)) | ((times_s > 1.3) & (times_s < 1.5)) | (times_s > 3)
    spans = voiced_spans(tone(steady(130, 4.0), range(1, 9)) * is_heard, HZ)
    # The gap of 0.1 s is a consonant, that of 1.5 s a pause.
    np.testing.assert_allclose(spans, [(0.45, 1.55), (2.95, 4.0)], atol=0.06)


@pytest.mark.media
def test_real_speech_is_voiced_half_of_the_time_within_a_mans_range(media_dir: Path) -> None:
    media = (media_dir / "speech" / "jfk.flac").read_bytes()
    decoded = decode(media, MediaConfig(), Deadline.after(30))
    assert decoded.audio is not None
    pitch = track_pitch(decoded.audio)
    assert 0.4 < pitch.is_voiced.mean() < 0.65
    octaves = np.log2(pitch.hz_F[pitch.is_voiced])
    # An orator: wide, but no octave beside his own.
    assert np.mean(np.abs(octaves - np.median(octaves)) > 0.9) < 0.02
    assert EXTRACTOR.extract(SEGMENT, decoded).quality == 1
    # "And so my fellow Americans, ask not what your country can do for you": five phrases with pauses.
    assert len(voiced_spans(decoded.audio, HZ)) == 5


@pytest.mark.media
def test_a_silent_track_is_absent(media_dir: Path) -> None:
    media = (media_dir / "faces" / "d18.mp4").read_bytes()
    decoded = decode(media, MediaConfig(), Deadline.after(30))
    assert decoded.audio is not None
    assert EXTRACTOR.extract(SEGMENT, decoded).num_steps == 0


def test_the_pitch_of_a_segment_is_followed_once() -> None:
    decoded = Decoded(1.0, tone(steady(130), range(1, 9)), HZ, ())
    same = Decoded(1.0, decoded.audio, HZ, ())
    assert pitch_of(decoded) is pitch_of(decoded)
    assert pitch_of(same) is not pitch_of(decoded)
    np.testing.assert_array_equal(pitch_of(same).hz_F, pitch_of(decoded).hz_F)
    track = EXTRACTOR.extract(SEGMENT, decoded)
    np.testing.assert_array_equal(track.values_TD, extract(tone(steady(130), range(1, 9))).values_TD)


def test_silence_has_no_pitch_in_as_many_frames() -> None:
    pitch = track_pitch(np.zeros(HZ, np.float32))
    assert len(pitch.hz_F) == len(pitch.periodicity_F) == 100
    assert not pitch.is_voiced.any()
