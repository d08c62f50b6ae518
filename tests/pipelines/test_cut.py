import io
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.cut import Cut, cut
from pipelines.deadline import Deadline
from pipelines.decode import Decoded, decode
from pipelines.errors import SegmentError
from pipelines.media import MediaConfig
from pipelines.segment import INLINE_CONTENT_TYPES
from tests.clips import Audio, Video, read_number, write_clip

EVERY_FRAME_HZ = 1000.0

VIDEO = Video(num_frames=150)
CLOSED = Video(num_frames=150, num_b_frames=0)
AAC, MP2, OPUS, PCM = (Audio(codec=codec, duration_s=5.0) for codec in ("aac", "mp2", "libopus", "pcm_s16le"))
AMR, ALAW = Audio(codec="libopencore_amrnb", hz=8000), Audio(codec="pcm_alaw", hz=8000)
PRORES = Video(codec="prores_ks", pixel_format="yuv422p10le", num_b_frames=0)

CLIPS: dict[str, tuple[str, Video | None, Audio | None]] = {
    "mp4": ("mp4", VIDEO, AAC),
    "mov": ("mov", VIDEO, PCM),
    "mpegts": ("mpegts", VIDEO, AAC),
    "mpeg": ("mpeg", replace(CLOSED, codec="mpeg1video"), MP2),
    "matroska": ("matroska", VIDEO, OPUS),
    "webm": ("webm", replace(CLOSED, codec="libvpx"), OPUS),
    "silent": ("mp4", VIDEO, None),
    "mp3": ("mp3", None, Audio(codec="libmp3lame", duration_s=5.0)),
    "m4a": ("mp4", None, AAC),
    "aac": ("adts", None, AAC),
    "ogg": ("ogg", None, OPUS),
    "wav": ("wav", None, PCM),
    "flac": ("flac", None, Audio(codec="flac", duration_s=5.0)),
}

PACKET_S = 0.09
"""The longest packet of sound here: 4096 bytes of PCM."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Five seconds each, with a key frame at least every second."""
    folder = tmp_path_factory.mktemp("cut")
    paths = {name: folder / name for name in CLIPS}
    for name, clip in CLIPS.items():
        paths[name].write_bytes(write_clip(*clip))
    return paths


def read(media: bytes) -> Decoded:
    return decode(media, MediaConfig(), Deadline.after(30), frames_hz=EVERY_FRAME_HZ)


def numbers(*pieces: Decoded) -> list[int]:
    return [read_number(frame.rgb_HW3) for piece in pieces for frame in piece.frames]


def refusal(path: Path, config: MediaConfig | None = None) -> SegmentError:
    with pytest.raises(SegmentError) as caught:
        list(cut(path, 1.0, config))
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", CLIPS)
def test_the_pieces_add_up_to_the_whole(clips: dict[str, Path], name: str) -> None:
    whole = read(clips[name].read_bytes())
    pieces = list(cut(clips[name], 2.0))
    decoded = [read(piece.data) for piece in pieces]
    assert len(pieces) >= 2
    assert [piece.sequence for piece in pieces] == [*range(len(pieces))]
    assert [piece.warning for piece in pieces] == [None] * len(pieces)
    assert numbers(*decoded) == numbers(whole)
    # They follow each other without a gap, and only the last one is shorter than asked.
    assert pieces[0].start_s == 0
    for piece, following in pairwise(pieces):
        assert following.start_s == pytest.approx(piece.start_s + piece.duration_s, abs=1e-6)
        assert piece.duration_s >= 2.0 - 0.002
    assert sum(piece.duration_s for piece in pieces) == pytest.approx(whole.duration_s, abs=PACKET_S)
    for piece, media in zip(pieces, decoded, strict=True):
        assert media.duration_s == pytest.approx(piece.duration_s, abs=PACKET_S)


@pytest.mark.parametrize("name", [name for name, clip in CLIPS.items() if clip[2]])
def test_all_sound_is_in_the_pieces_at_its_time(clips: dict[str, Path], name: str) -> None:
    container, video, audio = CLIPS[name]
    assert audio is not None
    clip = write_clip(container, video, replace(audio, tone_from_s=3.5))
    path = clips[name].with_suffix(".late")
    path.write_bytes(clip)
    pieces = list(cut(path, 2.0))
    heard = np.zeros(6 * 16_000, np.float32)
    for piece in pieces:
        sound = read(piece.data).audio
        assert sound is not None
        begin = round(piece.start_s * 16_000)
        heard[begin : begin + len(sound)] += sound
    assert np.argmax(np.abs(heard) > 0.1) / 16_000 == pytest.approx(3.5, abs=0.03)
    # Where a piece begins, a decoder may lose a packet, because it refers to the one before.
    seconds_of_tone = np.count_nonzero(np.abs(heard) > 0.02) / 16_000
    assert seconds_of_tone == pytest.approx(1.5, abs=PACKET_S + 0.05)


@pytest.mark.parametrize("name", CLIPS)
def test_cutting_again_gives_the_same_bytes(clips: dict[str, Path], name: str) -> None:
    assert list(cut(clips[name], 1.0)) == list(cut(clips[name], 1.0))


def test_each_piece_says_what_it_is(clips: dict[str, Path]) -> None:
    kinds = {name: next(cut(path, 2.0)) for name, path in clips.items()}
    assert {name: (piece.content_type, piece.suffix) for name, piece in kinds.items()} == {
        "mp4": ("video/mp4", ".mp4"),
        "mov": ("video/mp4", ".mp4"),
        "mpegts": ("video/mp2t", ".ts"),
        "mpeg": ("video/mp2t", ".ts"),
        "matroska": ("video/x-matroska", ".mkv"),
        "webm": ("video/x-matroska", ".mkv"),
        "silent": ("video/mp4", ".mp4"),
        "m4a": ("audio/mp4", ".mp4"),
    } | dict.fromkeys(("mp3", "aac", "ogg", "wav", "flac"), ("audio/x-matroska", ".mkv"))
    for piece in kinds.values():
        assert piece.content_type in INLINE_CONTENT_TYPES or piece.content_type.startswith("audio/")


def test_a_piece_is_longer_where_key_frames_are_rare(tmp_path: Path) -> None:
    path = tmp_path / "rare.mp4"
    path.write_bytes(write_clip("mp4", Video(num_frames=90, key_frame_every=1000), None))
    (piece,) = cut(path, 0.5)
    assert piece.duration_s == pytest.approx(3.0)
    assert numbers(read(piece.data)) == [*range(90)]


def test_nothing_is_encoded_again(clips: dict[str, Path]) -> None:
    whole = read(clips["mp4"].read_bytes())
    pieces = [read(piece.data) for piece in cut(clips["mp4"], 1.0)]
    frames = [frame for piece in pieces for frame in piece.frames]
    pairs = zip(whole.frames, frames, strict=True)
    assert all(np.array_equal(mine.rgb_HW3, theirs.rgb_HW3) for mine, theirs in pairs)


def test_an_open_gop_loses_only_what_no_decoder_can_show(tmp_path: Path) -> None:
    path = tmp_path / "open.ts"
    path.write_bytes(write_clip("mpegts", replace(VIDEO, codec="mpeg2video"), None))
    pieces = list(cut(path, 2.0))
    found = numbers(*(read(piece.data) for piece in pieces))
    lost = set(range(150)) - set(found)
    assert found == sorted(found)
    assert len(lost) <= 2 * (len(pieces) - 1)
    assert sum(piece.duration_s for piece in pieces) == pytest.approx(5.0)


def test_sound_far_from_its_picture_in_the_file_still_meets_it(tmp_path: Path) -> None:
    """All pictures come first in this file, then all sound."""
    file = io.BytesIO()
    source = io.BytesIO(write_clip("mp4", VIDEO, replace(AAC, tone_from_s=3.5)))
    with (
        av.open(source) as clip,
        av.open(file, "w", format="matroska", options={"max_interleave_delta": "1"}) as out,
    ):
        tracks = {track.index: out.add_stream_from_template(track) for track in clip.streams}
        packets = [packet for packet in clip.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.stream_index):
            packet.stream = tracks[packet.stream_index]
            out.mux_one(packet)
    path = tmp_path / "apart.mkv"
    path.write_bytes(file.getvalue())
    first, second = (read(piece.data) for piece in cut(path, 2.0))
    assert first.audio is not None
    assert second.audio is not None
    assert np.abs(first.audio[1600:]).max() < 0.1
    assert np.abs(second.audio).max() > 0.3


def test_a_turned_video_stays_turned(media_dir: Path) -> None:
    path = media_dir / "odd" / "video_rotation_90.mp4"
    (piece,) = cut(path, 5.0)
    mine, theirs = read(path.read_bytes()).frames[0], read(piece.data).frames[0]
    assert np.array_equal(mine.rgb_HW3, theirs.rgb_HW3)


@pytest.mark.parametrize(
    ("video", "audio", "expected"),
    [
        (PRORES, PCM, ("video/x-matroska", ".mkv")),
        (Video(), ALAW, ("video/mp4", ".mov")),
        (PRORES, AMR, ("video/mp4", ".mov")),
        (None, AMR, ("audio/mp4", ".mov")),
    ],
)
def test_what_mp4_does_not_take_goes_into_another_container(
    tmp_path: Path, video: Video | None, audio: Audio, expected: tuple[str, str]
) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(write_clip("mov", video, audio))
    (piece,) = cut(path, 10.0)
    assert (piece.content_type, piece.suffix, piece.warning) == (*expected, None)
    whole, decoded = read(path.read_bytes()), read(piece.data)
    assert numbers(decoded) == numbers(whole)
    assert np.array_equal(decoded.audio, whole.audio)  # type: ignore[arg-type]


def test_a_file_that_can_t_be_copied_goes_out_whole_with_a_warning(tmp_path: Path) -> None:
    media = write_clip("wav", None, ALAW)  # Matroska does not take it
    path = tmp_path / "phone.wav"
    path.write_bytes(media)
    (piece,) = cut(path, 1.0)
    assert piece.data == media
    assert piece.warning is not None
    assert "can't be copied" in piece.warning
    assert (piece.content_type, piece.suffix) == ("audio/wav", ".wav")
    assert piece.duration_s == pytest.approx(2.0, abs=0.05)
    assert "larger than 1000 bytes" in refusal(path, MediaConfig(max_bytes=1000)).message


@pytest.mark.parametrize(
    "content", [b"", b"no video at all", b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", bytes(5000)]
)
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert refusal(path).stage == "decode"


def test_a_path_that_can_t_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.mp4", tmp_path):
        error = refusal(path)
        assert error.stage == "fetch"
        assert str(path) in error.message


def test_a_piece_without_an_end_is_refused(clips: dict[str, Path]) -> None:
    assert "no key frame within 20000 bytes" in refusal(clips["mp4"], MediaConfig(max_bytes=20_000)).message


def test_a_truncated_file_gives_what_is_there(clips: dict[str, Path], tmp_path: Path) -> None:
    media = clips["matroska"].read_bytes()
    path = tmp_path / "part.mkv"
    path.write_bytes(media[: len(media) // 2])
    found = numbers(*(read(piece.data) for piece in cut(path, 1.0)))
    assert 40 < len(found) < 120
    assert found[:40] == [*range(40)]


@pytest.mark.parametrize("name", ["mp4", "mpegts", "mpeg", "matroska", "mp3", "ogg"])
def test_any_damage_gives_pieces_or_a_segment_error(
    clips: dict[str, Path], tmp_path: Path, name: str
) -> None:
    dice = random.Random(name)
    path = tmp_path / name
    for _ in range(10):
        media = bytearray(clips[name].read_bytes())
        for _ in range(20):
            media[dice.randrange(len(media))] = dice.randrange(256)
        path.write_bytes(media[: dice.randrange(len(media))])
        try:
            pieces: list[Cut] = list(cut(path, 1.0))
        except SegmentError:
            continue
        assert pieces
        assert all(piece.data and piece.duration_s >= 0 for piece in pieces)


@pytest.mark.media
def test_real_files_are_cut_where_they_can_be(media_dir: Path) -> None:
    first, second = cut(media_dir / "faces" / "d10.mp4", 5.0)  # key frames at 0 and 10 s only
    assert (first.start_s, first.duration_s, second.start_s) == (0.0, 10.0, 10.0)
    assert second.duration_s == pytest.approx(4.975, abs=0.01)
    assert [len(read(piece.data).frames) for piece in (first, second)] == [300, 148]
    for name in ("d18.mp4", "lbax4n.mpg"):
        (only,) = cut(media_dir / "faces" / name, 5.0)
        assert only.warning is None


@pytest.mark.media
def test_odd_files_give_pieces_or_a_segment_error(media_dir: Path) -> None:
    for path in sorted((media_dir / "odd").iterdir()):
        try:
            assert all(read(piece.data).duration_s > 0 for piece in cut(path, 1.0))
        except SegmentError as error:
            if error.stage != "decode":
                raise
