import io
import itertools
import random
import socket
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.deadline import Deadline
from pipelines.decode import Decoded, decode
from pipelines.errors import SegmentError
from pipelines.media import MediaConfig
from tests.clips import Audio, Video, draw_number, read_number, write_clip

VP8 = Video(codec="libvpx", num_b_frames=0)
OPUS, MP2 = Audio(codec="libopus"), Audio(codec="mp2")

CLIPS: dict[str, tuple[str, Video | None, Audio | None]] = {
    "mp4": ("mp4", Video(), Audio()),
    "mov": ("mov", Video(), Audio(codec="pcm_s16le")),
    "fragmented": ("mp4", Video(), Audio()),
    "mpegts": ("mpegts", Video(), Audio()),
    "mpegts-mpeg2": ("mpegts", Video(codec="mpeg2video"), MP2),
    "mpeg": ("mpeg", Video(codec="mpeg1video"), MP2),
    "matroska": ("matroska", Video(), OPUS),
    "webm": ("webm", VP8, OPUS),
    "mpeg4": ("mp4", Video(codec="mpeg4"), None),
    "10-bit": ("mp4", Video(pixel_format="yuv420p10le"), None),
    "ogg": ("ogg", None, OPUS),
    "wav": ("wav", None, Audio(codec="pcm_s16le", hz=44_100, layout="stereo")),
    "mp3": ("mp3", None, Audio(codec="libmp3lame")),
    "flac": ("flac", None, Audio(codec="flac", hz=44_100)),
    "aac": ("adts", None, Audio()),
    "amr": ("3gp", None, Audio(codec="libopencore_amrnb", hz=8000)),
}
FRAGMENTED = {"movflags": "frag_keyframe+delay_moov"}


@pytest.fixture(scope="module")
def clips() -> dict[str, bytes]:
    """Two seconds each: 60 numbered pictures, a tone of 440 Hz."""
    return {
        name: write_clip(*clip, options=FRAGMENTED if name == "fragmented" else None)
        for name, clip in CLIPS.items()
    }


def read(media: bytes, config: MediaConfig | None = None, **options: Any) -> Decoded:
    return decode(media, config or MediaConfig(), Deadline.after(30), **options)


def refusal(media: bytes, **limits: Any) -> str:
    with pytest.raises(SegmentError) as caught:
        read(media, MediaConfig(**limits))
    assert caught.value.stage == "decode"
    assert "\n" not in caught.value.message
    return caught.value.message


def numbers(decoded: Decoded) -> list[int]:
    return [read_number(frame.rgb_HW3) for frame in decoded.frames]


def outcome(media: bytes) -> Decoded | None:
    """What is readable; None when the segment is refused, as it should be."""
    try:
        decoded = decode(media, MediaConfig(), Deadline.after(10))
    except SegmentError as error:
        if error.stage != "decode":
            raise
        return None
    assert is_sound(decoded)
    return decoded


def is_sound(decoded: Decoded) -> bool:
    """Whether what every reader relies on holds."""
    times_s = [frame.time_s for frame in decoded.frames]
    return (
        decoded.duration_s > 0
        and all(0 <= time_s <= decoded.duration_s for time_s in times_s)
        and all(earlier < later for earlier, later in itertools.pairwise(times_s))
        and all(max(frame.rgb_HW3.shape) <= 640 for frame in decoded.frames)
        and (decoded.audio is None or bool(np.isfinite(decoded.audio).all()))
        and (decoded.audio is None or float(np.abs(decoded.audio).max(initial=0)) <= 1)
    )


def onset_s(decoded: Decoded) -> float:
    """When the tone begins."""
    assert decoded.audio is not None
    return float(np.argmax(np.abs(decoded.audio) > 0.1)) / decoded.audio_hz


# --- what comes out


@pytest.mark.parametrize("name", [name for name, clip in CLIPS.items() if clip[1]])
def test_the_first_picture_at_or_after_each_tick_is_chosen(clips: dict[str, bytes], name: str) -> None:
    decoded = read(clips[name])
    # The sound of some containers begins a moment (its encoder's delay) before the pictures.
    late_s = decoded.frames[0].time_s
    assert 0 <= late_s < 0.05
    assert numbers(decoded) == ([*range(0, 60, 6)] if late_s < 0.001 else numbers(decoded))
    for tick, frame in enumerate(decoded.frames):
        assert tick / 5 - 0.001 <= frame.time_s < tick / 5 + 1 / 30 + 0.001
        assert frame.time_s == pytest.approx(late_s + read_number(frame.rgb_HW3) / 30, abs=0.0015)
        assert frame.rgb_HW3.shape == (96, 160, 3)
    assert len(decoded.frames) == 10
    assert decoded.duration_s == pytest.approx(2.0, abs=0.05)
    assert decoded.num_damaged == 0


@pytest.mark.parametrize("name", [name for name, clip in CLIPS.items() if clip[2]])
def test_sound_is_mono_at_16_khz(clips: dict[str, bytes], name: str) -> None:
    audio = read(clips[name]).audio
    assert audio is not None
    assert audio.dtype == np.float32
    assert len(audio) == pytest.approx(32_000, abs=900)
    middle = audio[8000:24_000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440
    assert middle.std() == pytest.approx(0.5 / 2**0.5, abs=0.06)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_equal_channels_are_as_loud_as_one(layout: str, codec: str) -> None:
    loud = Audio(codec=codec, layout=layout, amplitude=1.0)
    audio = read(write_clip("wav", None, loud)).audio
    assert audio is not None
    assert np.abs(audio).max() == pytest.approx(1.0, abs=0.02)
    assert np.abs(audio[8000:24_000]).max() <= 1.0


@pytest.mark.parametrize("frames_hz", [5.0, 7.0, 30.0])
def test_frames_that_need_not_be_decoded_change_nothing(clips: dict[str, bytes], frames_hz: float) -> None:
    for name in ("mp4", "mpegts-mpeg2", "mpeg", "mpeg4", "webm"):
        with av.open(io.BytesIO(clips[name])) as container:
            every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for frame in read(clips[name], frames_hz=frames_hz).frames:
            assert np.array_equal(frame.rgb_HW3, every[read_number(frame.rgb_HW3)])


def test_each_picture_comes_once_when_there_are_fewer_than_ticks() -> None:
    slow = write_clip("mp4", Video(rate_hz=2, num_frames=6, num_b_frames=0))
    assert numbers(read(slow)) == [0, 1, 2, 3, 4, 5]
    assert [frame.time_s for frame in read(slow).frames] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])


def test_decoding_again_gives_the_same(clips: dict[str, bytes]) -> None:
    first, second = read(clips["mp4"]), read(clips["mp4"])
    assert np.array_equal(first.audio, second.audio)  # type: ignore[arg-type]
    pairs = zip(first.frames, second.frames, strict=True)
    assert all(a.time_s == b.time_s and np.array_equal(a.rgb_HW3, b.rgb_HW3) for a, b in pairs)


def test_a_track_that_is_missing_is_data(clips: dict[str, bytes]) -> None:
    assert read(clips["10-bit"]).audio is None
    assert read(clips["wav"]).frames == ()


def test_a_cover_picture_is_no_video() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = output.add_stream("aac", rate=48_000, layout="mono")
        picture = av.VideoFrame.from_ndarray(draw_number(1, 64, 64), format="rgb24")
        output.mux(cover.encode(picture) + cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        output.mux(sound.encode(frame) + sound.encode(None))
    decoded = read(file.getvalue())
    assert decoded.frames == ()
    assert decoded.audio is not None


# --- time


@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska"])
@pytest.mark.parametrize(
    ("video_s", "audio_s"), [(0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (5.0, 5.25), (100.0, 100.0)]
)
def test_time_0_is_the_first_moment_of_either_track(container: str, video_s: float, audio_s: float) -> None:
    sound = OPUS if container == "matroska" else MP2
    clip = write_clip(
        container,
        Video(start_s=video_s),
        replace(sound, start_s=audio_s, tone_from_s=0.3),
    )
    decoded = read(clip)
    zero_s = min(video_s, audio_s)
    assert decoded.frames[0].time_s == pytest.approx(max(0.0, video_s - zero_s), abs=0.03)
    assert onset_s(decoded) == pytest.approx(audio_s - zero_s + 0.3, abs=0.03)
    assert decoded.duration_s == pytest.approx(max(video_s, audio_s) - zero_s + 2.0, abs=0.06)
    assert decoded.audio is not None
    assert not decoded.audio[: max(0, round((audio_s - zero_s - 0.03) * 16_000))].any()


def test_a_gap_in_the_sound_is_silent_and_moves_nothing() -> None:
    gappy = Audio(codec="pcm_s16le", tone_from_s=1.5, gap_s=(0.5, 1.2))
    decoded = read(write_clip("matroska", None, gappy))
    assert onset_s(decoded) == pytest.approx(1.5, abs=0.005)
    assert decoded.duration_s == pytest.approx(2.0, abs=0.01)


def test_sound_whose_times_step_back_is_heard_where_it_says() -> None:
    begin = write_clip("mpegts", None, replace(MP2, duration_s=1.5, amplitude=0.1))
    again = write_clip("mpegts", None, replace(MP2, duration_s=1.5, amplitude=0.4, start_s=1.0))
    audio = read(begin + again).audio
    assert audio is not None
    assert len(audio) == pytest.approx(2.5 * 16_000, abs=1000)
    loudness = [np.abs(audio[at - 800 : at + 800]).max() for at in (8000, 20_000, 32_000)]
    assert loudness == pytest.approx([0.1, 0.4, 0.4], abs=0.03)


# --- pictures


@pytest.mark.parametrize(
    ("size", "longest_px", "expected"),
    [
        ((640, 360), 320, (180, 320)),
        ((360, 640), 320, (320, 180)),
        ((160, 96), 320, (96, 160)),
        ((16, 16), 640, (16, 16)),
        ((1000, 16), 100, (2, 100)),
    ],
)
def test_large_pictures_are_scaled_down(
    size: tuple[int, int], longest_px: int, expected: tuple[int, int]
) -> None:
    clip = write_clip("mp4", Video(num_frames=3, width_px=size[0], height_px=size[1]))
    decoded = read(clip, frame_width_px=longest_px)
    assert decoded.frames[0].rgb_HW3.shape == (*expected, 3)


def test_pixels_that_are_not_square_are_made_so() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        track = output.add_stream("libx264", rate=10)
        track.width, track.height, track.pix_fmt = 180, 144, "yuv420p"
        track.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for number in range(3):
            picture = av.VideoFrame.from_ndarray(draw_number(number, 180, 144), format="rgb24")
            output.mux(track.encode(picture))
        output.mux(track.encode(None))
    assert read(file.getvalue()).frames[0].rgb_HW3.shape == (144, 262, 3)


def test_colours_survive() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        track = output.add_stream("libx264", rate=10)
        track.width, track.height, track.pix_fmt = 64, 64, "yuv420p"
        red = np.zeros((64, 64, 3), np.uint8)
        red[..., 0] = 200
        output.mux(track.encode(av.VideoFrame.from_ndarray(red, format="rgb24")) + track.encode(None))
    middle = read(file.getvalue()).frames[0].rgb_HW3[32, 32]
    assert middle.astype(int) == pytest.approx([200, 0, 0], abs=12)


# --- limits


def test_limits_are_kept_and_named(clips: dict[str, bytes]) -> None:
    assert "media.max_duration_s" in refusal(clips["mp4"], max_duration_s=1.0)
    assert "media.max_duration_s" in refusal(clips["wav"], max_duration_s=1.0)
    assert "more than 59 video frames" in refusal(clips["mp4"], max_frames=59)
    assert "160 x 96 px, limit 15359" in refusal(clips["mp4"], max_pixels=160 * 96 - 1)
    assert "2 tracks, limit 1" in refusal(clips["mp4"], max_streams=1)
    assert "'mp4' is not allowed" in refusal(clips["mp4"], formats=("mov", "webm"))
    limits = MediaConfig(
        max_duration_s=2.1, max_frames=60, max_pixels=160 * 96, max_streams=2, formats=("mp4",)
    )
    assert numbers(read(clips["mp4"], limits)) == numbers(read(clips["mp4"]))


def test_a_picture_that_grows_on_the_way_meets_the_limit() -> None:
    """The header's size is not the last word: what the decoder finds counts."""
    small, large = Video(num_frames=30), Video(num_frames=30, width_px=640, height_px=480, start_s=1.0)
    growing = write_clip("mpegts", small) + write_clip("mpegts", large)
    assert {frame.rgb_HW3.shape for frame in read(growing).frames} == {(96, 160, 3), (480, 640, 3)}
    assert "640 x 480" in refusal(growing, max_pixels=160 * 96)


def test_many_tiny_packets_are_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        track = output.add_stream("pcm_u8", rate=8000, layout="mono")
        for number in range(1100):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1), np.uint8), format="u8", layout="mono")
            frame.sample_rate, frame.pts = 8000, number
            output.mux(track.encode(frame))
    assert "more than 1000 audio packets" in refusal(file.getvalue(), max_duration_s=1.0)


def test_decoding_stops_at_the_deadline(clips: dict[str, bytes]) -> None:
    for name in ("mp4", "wav"):
        with pytest.raises(SegmentError, match="deadline") as caught:
            decode(clips[name], MediaConfig(), Deadline.after(0))
        assert caught.value.stage == "decode"


# --- what is no media


def test_text_that_makes_libav_open_things_is_never_given_to_it(
    tmp_path: Path, clips: dict[str, bytes]
) -> None:
    inner = tmp_path / "inner.mp4"
    inner.write_bytes(clips["mp4"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        url = f"http://127.0.0.1:{port}/a.ts"
        for text in (
            f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 33\n",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXTINF:5,\n{inner}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile {inner}\n",
            f"ffconcat version 1.0\nfile '{url}'\n",
            f'<?xml version="1.0"?><MPD><BaseURL>{url}</BaseURL></MPD>',
        ):
            assert "no media container" in refusal(text.encode())
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_playlist_behind_a_container_s_first_bytes_opens_nothing(
    tmp_path: Path, clips: dict[str, bytes]
) -> None:
    inner = tmp_path / "inner.mp4"
    inner.write_bytes(clips["mp4"])
    playlist = f"\nffconcat version 1.0\nfile {inner}\n".encode()
    for head in (
        b"ID3\x03\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x18ftypisom",
        b"OggS",
        b"\x47" * 188,
        b"\xff\xfb",
    ):
        refusal(head + playlist)


@pytest.mark.parametrize("name", CLIPS)
def test_a_header_without_media_is_refused(clips: dict[str, bytes], name: str) -> None:
    for num_bytes in (1, 2, 8, 12, 30):
        refusal(clips[name][:num_bytes])


@pytest.mark.parametrize(
    "media",
    [
        b"",
        b"\x00",
        bytes(100_000),
        b"\xff" * 100_000,
        b"MZ" + bytes(1000),
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"\x89PNG\r\n",
    ],
)
def test_garbage_is_refused(media: bytes) -> None:
    refusal(media)


def test_noise_is_refused() -> None:
    refusal(np.random.default_rng(7).bytes(200_000))


def test_a_video_of_zero_duration_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        track = output.add_stream("libx264", rate=10)
        track.width, track.height, track.pix_fmt = 64, 64, "yuv420p"
        output.start_encoding()
    assert "0 s" in refusal(file.getvalue()) or "track" in refusal(file.getvalue())


def test_a_codec_off_the_list_is_named() -> None:
    odd = write_clip("matroska", Video(codec="ffv1", num_b_frames=0, num_frames=5))
    assert "video ffv1" in refusal(odd)


# --- what is damaged


@pytest.mark.parametrize(
    "name", ["fragmented", "mpegts", "mpeg", "matroska", "webm", "ogg", "wav", "mp3", "flac", "aac"]
)
def test_the_readable_part_of_a_truncated_file_is_data(clips: dict[str, bytes], name: str) -> None:
    media = clips[name]
    part, whole = read(media[: len(media) * 6 // 10]), read(media)
    assert part.duration_s > 0.7
    assert part.duration_s < 1.7 or name == "mpeg"  # which holds its pictures before its sound
    # The last picture may be cut off; the decoder fills it up with the one before.
    assert numbers(part)[:-1] == numbers(whole)[: max(0, len(part.frames) - 1)]
    assert (part.audio is None) == (whole.audio is None)


def test_damaged_packets_are_left_out_and_counted(clips: dict[str, bytes]) -> None:
    media = bytearray(clips["matroska"])
    middle = slice(len(media) // 2, len(media) // 2 + 3000)
    media[middle] = np.random.default_rng(1).bytes(3000)
    decoded = read(bytes(media))
    assert decoded.duration_s == pytest.approx(2.0, abs=0.1)
    assert numbers(decoded)[0] == 0


def test_libav_says_nothing_on_stderr(clips: dict[str, bytes], capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    for name in ("mp4", "mpegts", "matroska", "mp3"):
        media = bytearray(clips[name])
        media[len(media) // 2 : len(media) // 2 + 2000] = bytes(2000)
        read(bytes(media))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", CLIPS)
def test_any_damage_gives_media_or_a_segment_error(clips: dict[str, bytes], name: str) -> None:
    dice = random.Random(name)
    for _ in range(15):
        outcome(damaged(clips[name], dice))


def damaged(media: bytes, dice: random.Random) -> bytes:
    """Cut off, overwritten in the header or anywhere, or with a piece lost or doubled."""
    copy = bytearray(media)
    begin = dice.randrange(len(copy))
    end = begin + dice.randrange(1, 4000)
    match dice.randrange(5):
        case 0:
            return media[:begin]
        case 1:
            del copy[begin:end]
        case 2:
            copy[begin:begin] = copy[begin:end]
        case kind:
            reach = min(len(copy), 1500) if kind == 3 else len(copy)
            for _ in range(dice.randrange(1, 30)):
                copy[dice.randrange(reach)] = dice.choice([0, 127, 128, 255, dice.randrange(256)])
    return bytes(copy)


@settings(max_examples=60, deadline=None)
@given(
    head=st.sampled_from(
        [b"", b"\x00\x00\x00\x18ftypisom", b"\x1aE\xdf\xa3", b"OggS", b"fLaC", b"RIFF\x00\x00\x00\x00WAVE"]
    )
    | st.sampled_from(
        [b"ID3\x04\x00\x00\x00\x00\x00\x05", b"\x00\x00\x01\xba", b"\xff\xfb", b"\xff\xf1", b"\x47"]
    ),
    tail=st.binary(max_size=3000),
)
def test_any_bytes_give_media_or_a_segment_error(head: bytes, tail: bytes) -> None:
    outcome(head + tail)


# --- real files


@pytest.mark.media
def test_odd_files_give_media_or_a_segment_error(media_dir: Path) -> None:
    outcomes = {path.name: outcome(path.read_bytes()) for path in (media_dir / "odd").iterdir()}
    found = {name: decoded for name, decoded in outcomes.items() if decoded is not None}
    readable = {"h264_10bits.mp4", "amr_nb_1f.3gp", "minimal.mp4", "nasa_13013.mp4", "no_timescale.mp4"}
    assert readable <= set(found)
    assert found["no_timescale.mp4"].num_damaged > 0


@pytest.mark.media
def test_a_turned_video_stands_upright(media_dir: Path) -> None:
    media = (media_dir / "odd" / "video_rotation_90.mp4").read_bytes()
    with av.open(io.BytesIO(media)) as container:
        (stored,) = (frame for frame in container.decode(video=0))
        lying = stored.to_ndarray(format="rgb24")
        turns = round(stored.rotation / 90)
    upright = read(media).frames[0].rgb_HW3
    assert lying.shape == (60, 100, 3)
    assert upright.shape == (100, 60, 3)
    assert abs(turns) == 1
    assert np.array_equal(upright, np.rot90(lying, turns))


@pytest.mark.media
@pytest.mark.parametrize("name", ["d10.mp4", "s13.mp4", "lbax4n.mpg"])
def test_real_faces_come_out_as_by_a_plain_full_decode(media_dir: Path, name: str) -> None:
    media = (media_dir / "faces" / name).read_bytes()
    with av.open(io.BytesIO(media)) as container:
        every = {
            round(frame.time, 4): frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)
        }
    decoded = read(media, frame_width_px=4096)
    assert len(decoded.frames) == pytest.approx(5 * decoded.duration_s, abs=1)
    for frame in decoded.frames:
        assert np.array_equal(frame.rgb_HW3, every[round(frame.time_s, 4)])
