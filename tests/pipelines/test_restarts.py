"""Packets that no needed picture can refer to are not decoded, and that changes no picture."""

import io
from collections.abc import Callable

import av
import numpy as np
import pytest

from pipelines.container import choose_tracks, open_container, read_packets
from pipelines.deadline import Deadline
from pipelines.decode import Decoded, decode
from pipelines.media import MediaConfig
from pipelines.pictures import leading_to
from tests.clips import Video, read_number, write_clip

CONFIG = MediaConfig()


def x264(parameters: str = "", key_frame_every: int = 15) -> Video:
    # The pictures differ so much that the encoder would begin anew wherever it liked.
    options = ":".join(filter(None, ("scenecut=0", parameters)))
    return Video(key_frame_every=key_frame_every, options=(("x264-params", options),))


CLOSED, OPEN, REFRESHED = x264(), x264("open-gop=1:bframes=2"), x264("intra-refresh=1")
"""Four groups of 15 pictures, 30 a second: of each, those after the third tick of 5 a second serve nobody."""


def read(media: bytes, frames_hz: float = 5.0) -> Decoded:
    return decode(media, CONFIG, Deadline.after(30), frames_hz=frames_hz)


def numbers(decoded: Decoded) -> list[int]:
    return [read_number(frame.rgb_HW3) for frame in decoded.frames]


def num_led(media: bytes, is_needed: Callable[[int], bool]) -> tuple[int, int]:
    """How many packets lead to the pictures with such numbers, and how many there are."""
    with open_container(io.BytesIO(media), CONFIG) as container:
        tracks = choose_tracks(container, CONFIG)
        assert tracks.video is not None
        packets = read_packets(container, tracks, CONFIG, Deadline.after(30))[tracks.video.index]
        stamps = [(packet.pts, packet.pts * packet.time_base) for packet in packets if packet.pts is not None]
        first_s = min(shown_s for _, shown_s in stamps)
        needed = frozenset(pts for pts, shown_s in stamps if is_needed(round(30 * (shown_s - first_s))))
        return len(leading_to(needed, packets, tracks.video)), len(packets)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts"])
def test_the_rest_of_a_group_is_left_out(container: str) -> None:
    media = write_clip(container, CLOSED)
    assert num_led(media, lambda number: number in (0, 30)) == (2, 60)
    assert num_led(media, lambda number: number == 59)[0] <= 15
    assert num_led(media, lambda number: number >= 0) == (60, 60)
    assert num_led(media, lambda number: number < 0) == (60, 60)


@pytest.mark.parametrize("video", [OPEN, REFRESHED], ids=["open", "refreshed"])
@pytest.mark.parametrize("container", ["mp4", "mpegts"])
def test_a_key_frame_that_is_no_restart_keeps_what_is_before_it(container: str, video: Video) -> None:
    media = write_clip(container, video)
    assert num_led(media, lambda number: number == 57)[0] >= 55


@pytest.mark.parametrize(
    "video", [CLOSED, OPEN, REFRESHED, x264("", 7)], ids=["closed", "open", "refreshed", "short"]
)
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
@pytest.mark.parametrize("frames_hz", [1.0, 5.0, 7.0])
def test_no_picture_changes(container: str, video: Video, frames_hz: float) -> None:
    media = write_clip(container, video)
    with av.open(io.BytesIO(media)) as opened:
        every = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    decoded = read(media, frames_hz)
    assert len(decoded.frames) == 2 * frames_hz
    assert decoded.num_damaged == 0
    for number, frame in zip(numbers(decoded), decoded.frames, strict=True):
        assert np.array_equal(frame.rgb_HW3, every[number])


def test_in_place_of_a_damaged_picture_the_next_one_is_taken_though_it_leads_to_nothing() -> None:
    """The last one that is needed of a group is lost; without it the others of the group would not be decoded."""
    media = bytearray(write_clip("mp4", Video(codec="mpeg4", key_frame_every=1, num_b_frames=0)))
    with av.open(io.BytesIO(media)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    begin, size = places[54]
    media[begin : begin + size] = bytes(size)
    assert numbers(read(bytes(media))) == [*range(0, 54, 6), 55]
    assert read(bytes(media)).num_damaged == 1
