"""Packets put into a new container as they are, with other time stamps.

Knows which container takes which codec. Does not know which packets belong together.
"""

import heapq
import io
import math
from collections.abc import Iterable

import av
import av.container
from av.stream import Stream

from pipelines.container import Packet, Tracks, error_text, seconds
from pipelines.errors import SegmentError

MUXERS = {
    "mov": ("mp4", "matroska", "mov"),
    "mpegts": ("mpegts", "matroska"),
    "mpeg": ("mpegts", "matroska"),
}
"""Containers to copy into, the best first, by the source's demuxer. All others go into Matroska, which takes
nearly every codec. A program stream (mpeg) goes into a transport stream, which is its sister."""


def choose_muxer(tracks: Tracks, demuxer: str) -> str | None:
    """The first container that takes the tracks' codecs; None when none does."""
    for name in MUXERS.get(demuxer, ("matroska",)):
        try:
            with av.open(io.BytesIO(), "w", format=name) as trial:
                _add_tracks(trial, tracks)
                trial.start_encoding()  # writes the header, which may say no after all
        except (ValueError, av.FFmpegError):
            continue
        return name
    return None


def remux(
    packets: tuple[Iterable[Packet], Iterable[Packet]],
    tracks: Tracks,
    muxer: str,
    begin_s: float,
    *,
    is_first: bool,
) -> tuple[bytes, int]:
    """Write packets as a file.

    Args:
        packets: Of one track and of the other, each in the order of decoding. Their time stamps change.
        tracks: Where they come from.
        muxer: As chosen.
        begin_s: What becomes time 0, on the packets' clock.
        is_first: Whether packets before time 0 are kept: they get a decoder started. In the middle of a
            file they refer to what is not there.

    Returns:
        The file, the same bytes every time, and how many packets the container refused.

    Raises:
        SegmentError: Stage "decode": the container can't be finished.
    """
    file, num_refused = io.BytesIO(), 0
    try:
        # bitexact: no time of day and no random number in the file.
        with av.open(file, "w", format=muxer, options={"fflags": "+bitexact"}) as output:
            streams = _add_tracks(output, tracks)
            for packet in heapq.merge(*packets, key=_decoded_s):
                begin = round(begin_s / packet.time_base)
                if is_first or packet.pts is None or packet.pts >= begin:
                    num_refused += not _is_taken(output, packet, streams[packet.stream_index], begin)
    except av.FFmpegError as error:
        raise SegmentError(
            "decode",
            f"damaged from {begin_s:.1f} s on, can't be copied: {error_text(error)}; encode it again",
        ) from None
    return file.getvalue(), num_refused


def _is_taken(output: av.container.OutputContainer, packet: Packet, stream: Stream, begin: int) -> bool:
    packet.stream = stream
    packet.pts = None if packet.pts is None else packet.pts - begin
    packet.dts = None if packet.dts is None else packet.dts - begin
    try:
        output.mux_one(packet)
    except av.FFmpegError:
        return False
    return True


def _add_tracks(output: av.container.OutputContainer, tracks: Tracks) -> dict[int, Stream]:
    # opaque: without it PyAV looks for an encoder of the decoder's name, which some codecs don't have.
    return {track.index: output.add_stream_from_template(track, opaque=True) for track in tracks.present}


def _decoded_s(packet: Packet) -> float:
    stamp = packet.pts if packet.dts is None else packet.dts
    return -math.inf if stamp is None else seconds(stamp, packet.time_base)
