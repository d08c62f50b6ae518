"""A stretch of a video holds the pictures and the sound that the video shows there, and nothing else."""

import math
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cut import cut
from pipelines.deadline import Deadline
from pipelines.decode import Decoded, decode
from pipelines.errors import SegmentError
from pipelines.excerpt import excerpt
from pipelines.media import MediaConfig
from tests.clips import Audio, Video, read_number, write_clip

CONFIG = MediaConfig()
RATE_HZ = 25
FILES = {
    "mp4": ("mp4", "libx264", "aac"),
    "mov": ("mov", "libx264", "pcm_s16le"),
    "mkv": ("matroska", "libx264", "aac"),
    "ts": ("mpegts", "libx264", "aac"),
    "webm": ("webm", "libvpx", "libopus"),
}


def write(
    folder: Path, name: str, duration_s: float = 24.0, tone_from_s: float = 0.0, key_s: int = 4
) -> Path:
    container, video, audio = FILES[name]
    path = folder / f"{duration_s:g}-{tone_from_s:g}.{name}"
    if not path.exists():
        frames = round(duration_s * RATE_HZ)
        pictures = Video(codec=video, num_frames=frames, rate_hz=RATE_HZ, key_frame_every=key_s * RATE_HZ)
        sound = Audio(codec=audio, duration_s=duration_s, tone_from_s=tone_from_s)
        path.write_bytes(write_clip(container, pictures, sound))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("excerpts")


def seen(path: Path, start_s: float, end_s: float | None) -> Decoded:
    piece = excerpt(path, start_s, end_s, CONFIG)
    return decode(piece.data, CONFIG, Deadline.after(30), span=piece.span)


def late_s(name: str) -> float:
    """When picture 0 is shown: a transport stream keeps the encoder's first packet of sound, which lies before it."""
    return 1024 / 48_000 if name == "ts" else 0.0


@pytest.mark.parametrize("name", FILES)
def test_from_key_frame_to_key_frame_it_is_the_cutters_piece(folder: Path, name: str) -> None:
    path = write(folder, name)
    pieces = list(cut(path, 3.0, CONFIG))
    assert len(pieces) >= 4
    for piece in pieces:
        is_last = piece is pieces[-1]
        end_s = None if is_last else piece.start_s + piece.duration_s
        found = excerpt(path, piece.start_s, end_s, CONFIG)
        assert found.data == piece.data
        assert found.span.start_s == 0


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    start=st.integers(0, 22 * RATE_HZ),
    length=st.integers(1, 6 * RATE_HZ),
)
def test_it_shows_what_the_file_shows_there(folder: Path, name: str, start: int, length: int) -> None:
    path = write(folder, name)
    start_s, end_s = start / RATE_HZ, min(24.0, (start + length) / RATE_HZ)
    decoded = seen(path, start_s + late_s(name), end_s + late_s(name))
    numbers = [read_number(frame.rgb_HW3) for frame in decoded.frames]
    last = round(end_s * RATE_HZ)
    assert numbers == list(range(start, last, RATE_HZ // 5))
    assert [round(frame.time_s * 5, 1) for frame in decoded.frames] == list(range(len(numbers)))
    assert decoded.duration_s == pytest.approx(end_s - start_s, abs=0.13)
    assert decoded.audio is not None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("start_s", [9.0, 13.37, 20.5])
def test_it_sounds_as_the_file_sounds_there(folder: Path, name: str, start_s: float) -> None:
    path = write(folder, name, tone_from_s=21.0)
    decoded = seen(path, start_s + late_s(name), 22.0 + late_s(name))
    assert decoded.audio is not None
    heard_s = int(np.argmax(np.abs(decoded.audio) > 0.1)) / decoded.audio_hz
    assert heard_s == pytest.approx(21.0 - start_s, abs=0.02)
    # Up to the packet in which the stretch ends, as a cut.
    assert len(decoded.audio) / decoded.audio_hz == pytest.approx(22.0 - start_s, abs=0.07)


def test_the_end_of_the_file_is_the_default_and_may_be_passed_by_a_little(folder: Path) -> None:
    path = write(folder, "mp4")
    for end_s in (None, 24.4):
        assert [read_number(frame.rgb_HW3) for frame in seen(path, 23.0, end_s).frames] == [
            575,
            580,
            585,
            590,
            595,
        ]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("start_s", "end_s", "message"),
    [
        (24.1, 26.0, r"begins at 24.1 s, but the file ends at 2[34]\.\d+ s"),
        (500.0, None, r"begins at 500 s, but the file ends at 2[34]\.\d+ s"),
        (20.0, 30.0, r"ends at 30 s, but the file ends at 2[34]\.\d+ s"),
        (0.0, 61.0, r"lasts 61.0 s or more, limit 60 s"),
    ],
)
def test_a_stretch_that_is_not_there_is_refused(
    folder: Path, name: str, start_s: float, end_s: float | None, message: str
) -> None:
    with pytest.raises(SegmentError, match=message):
        excerpt(write(folder, name), start_s, end_s, CONFIG)


@pytest.mark.parametrize("sound_late_s", [-4.0, 4.0])
def test_sound_that_lies_far_from_its_pictures_in_the_file_is_found(
    folder: Path, sound_late_s: float
) -> None:
    source = write(folder, "mp4", tone_from_s=21.0)
    path = folder / f"apart{sound_late_s:g}.mkv"
    with (
        av.open(str(source)) as clip,
        av.open(str(path), "w", format="matroska", options={"max_interleave_delta": "1"}) as out,
    ):
        tracks = {track.index: out.add_stream_from_template(track) for track in clip.streams}
        packets = [packet for packet in clip.demux() if packet.size]
        is_late = {track.index: sound_late_s * (track.type == "audio") for track in clip.streams}
        packets.sort(key=lambda packet: float(packet.dts * packet.time_base) + is_late[packet.stream_index])
        for packet in packets:
            packet.stream = tracks[packet.stream_index]
            out.mux_one(packet)
    for piece in cut(path, 3.0, CONFIG):
        end_s = piece.start_s + piece.duration_s
        assert excerpt(path, piece.start_s, end_s, CONFIG).data == piece.data, piece.start_s
    decoded = seen(path, 19.5, 22.0)
    assert decoded.audio is not None
    assert int(np.argmax(np.abs(decoded.audio) > 0.1)) / decoded.audio_hz == pytest.approx(1.5, abs=0.03)


def test_a_stretch_of_a_file_that_can_t_be_copied_is_a_span_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "phone.wav"
    path.write_bytes(write_clip("wav", None, Audio(codec="pcm_alaw", duration_s=9, hz=8000, tone_from_s=6.0)))
    assert excerpt(path, 5.0, 8.0, CONFIG).data == path.read_bytes()
    decoded = seen(path, 5.0, 8.0)
    assert decoded.audio is not None
    assert int(np.argmax(np.abs(decoded.audio) > 0.1)) / decoded.audio_hz == pytest.approx(1.0, abs=0.02)
    assert len(decoded.audio) == 3 * decoded.audio_hz
    with pytest.raises(SegmentError, match=r"begins at 20 s, but the file ends at 9\.0"):
        excerpt(path, 20.0, None, CONFIG)


def test_without_pictures_and_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "sound.m4a"
    path.write_bytes(write_clip("mp4", None, Audio(duration_s=20, tone_from_s=15.0)))
    decoded = seen(path, 12.25, 17.0)
    assert decoded.frames == ()
    assert decoded.audio is not None
    assert int(np.argmax(np.abs(decoded.audio) > 0.1)) / 16_000 == pytest.approx(2.75, abs=0.02)
    path = tmp_path / "silent.mp4"
    path.write_bytes(write_clip("mp4", Video(num_frames=600, rate_hz=RATE_HZ)))
    decoded = seen(path, 12.0, 13.0)
    assert decoded.audio is None
    assert [read_number(frame.rgb_HW3) for frame in decoded.frames] == [300, 305, 310, 315, 320]


@pytest.mark.parametrize("container", ["flac", "mp3", "wav", "ogg", "adts"])
def test_files_of_sound_in_every_format(tmp_path: Path, container: str) -> None:
    codecs = {"flac": "flac", "mp3": "mp3", "wav": "pcm_s16le", "ogg": "libopus", "adts": "aac"}
    path = tmp_path / "sound"
    path.write_bytes(
        write_clip(container, None, Audio(codec=codecs[container], duration_s=30, tone_from_s=25.0))
    )
    decoded = seen(path, 22.0, 27.0)
    assert decoded.audio is not None
    assert int(np.argmax(np.abs(decoded.audio) > 0.1)) / 16_000 == pytest.approx(3.0, abs=0.06)
    assert len(decoded.audio) / 16_000 == pytest.approx(5.0, abs=0.1)


def test_one_key_frame_in_a_long_file_is_found(folder: Path) -> None:
    path = folder / "one-key.mp4"
    path.write_bytes(write_clip("mp4", Video(num_frames=1000, rate_hz=RATE_HZ, key_frame_every=1000)))
    assert read_number(seen(path, 36.0, 37.0).frames[0].rgb_HW3) == 900
    with pytest.raises(SegmentError, match=r"lies 36 s before it, limit 30 s"):
        excerpt(path, 36.0, 37.0, CONFIG.model_copy(update={"max_duration_s": 30.0}))


def test_sound_that_ends_early_is_absent_behind_its_end(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(write_clip("mp4", Video(num_frames=250, rate_hz=RATE_HZ), Audio(duration_s=3)))
    decoded = seen(path, 5.0, 7.0)
    assert decoded.audio is None
    assert len(decoded.frames) == 10


def test_a_stretch_of_a_recording_that_is_too_large_for_a_segment(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    path.write_bytes(write_clip("mp4", Video(num_frames=2500, rate_hz=RATE_HZ), Audio(duration_s=100)))
    small = CONFIG.model_copy(update={"max_bytes": path.stat().st_size // 8})
    piece = excerpt(path, 90.0, 92.0, small)
    assert len(piece.data) < small.max_bytes
    assert math.isclose(piece.span.end_s - piece.span.start_s, 2.0)
    with pytest.raises(SegmentError, match="hold more than"):
        excerpt(path, 40.0, 70.0, small)
    with pytest.raises(SegmentError, match="limit 60 s"):
        excerpt(path, 10.0, None, CONFIG)
