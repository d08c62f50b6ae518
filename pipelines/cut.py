"""A video cut into segments at its key frames, without encoding anything again.

    video   K p p p p K p p p p K p p p p K p p
    cuts    |                   |                 at the first key frame `segment_s` after the last cut
    sound   a a a a a a a a a a a a a a a a a a   each packet goes where it sounds

The same file gives the same bytes every time. Only the piece at hand is in memory.

Knows containers and packets. Does not know segments as messages.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer

from pipelines.container import (
    Packet,
    Tracks,
    choose_tracks,
    iterate_packets,
    open_container,
    packet_time_s,
    seconds,
    sniff,
)
from pipelines.errors import SegmentError
from pipelines.media import MediaConfig
from pipelines.remux import choose_muxer, remux

SEGMENT_S = 5.0

TOLERANCE_S = 0.001
"""Matroska rounds time stamps to milliseconds: a key frame that is this early is on time."""

MAX_SKEW_S = 10.0
"""How long a piece waits for its sound. Players buffer a second or two, so muxers keep tracks closer."""

TYPES = {
    "mp4": ("mp4", ".mp4"),
    "mpegts": ("mp2t", ".ts"),
    "matroska": ("x-matroska", ".mkv"),
    "mov": ("mp4", ".mov"),
    "mpeg": ("mpeg", ".mpg"),
    "webm": ("webm", ".webm"),
    "ogg": ("ogg", ".ogg"),
    "wav": ("wav", ".wav"),
    "mp3": ("mpeg", ".mp3"),
    "flac": ("flac", ".flac"),
    "aac": ("aac", ".aac"),
}
"""Second half of the content type, and suffix, of each container that may come out."""


@dataclass(frozen=True)
class Cut:
    """One piece of a video, a file of its own.

    Attributes:
        sequence: Running number from 0.
        start_s: Where the piece begins in the file.
        duration_s: To the next piece's begin; the last one ends with the file.
        data: The file.
        content_type: As a segment's header says it: "video/..." or, without pictures, "audio/...".
        suffix: For a file name, with its dot.
        warning: What is not as asked; None when all is well.
    """

    sequence: int
    start_s: float
    duration_s: float
    data: bytes
    content_type: str
    suffix: str
    warning: str | None = None


@dataclass
class _Piece:
    """Packets of each track from one cut to the next; times are on the container's clock."""

    start_s: float
    end_s: float = math.inf
    leading: list[Packet] = field(default_factory=list)
    sound: list[Packet] = field(default_factory=list)
    num_bytes: int = 0


def cut(path: Path, segment_s: float = SEGMENT_S, config: MediaConfig | None = None) -> Iterator[Cut]:
    """Cut a file into pieces of at least `segment_s`, except the last one.

    A piece is longer where key frames are rare. Pictures that come after a key frame but are shown before it
    (an open GOP) refer to the piece before as well: they can't be shown, and are left out.

    Args:
        path: A video, or a file of sound, which is cut at any packet.
        segment_s: Wanted length.
        config: Limits; None for the defaults. A piece that grows past `max_bytes` is refused.

    Raises:
        SegmentError: Stage "fetch" when the file can't be read, "decode" when it can't be cut.
    """
    config = config or MediaConfig()
    try:
        file = open(path, "rb")  # noqa: SIM115, closed below
    except OSError as error:
        raise SegmentError("fetch", f"{path}: {error.strerror}; give the path of a video") from None
    with file:
        with open_container(file, config) as container:
            tracks = choose_tracks(container, config)
            muxer = choose_muxer(tracks, container.format.name.split(",")[0])
            if muxer is not None:
                yield from _copied(_pieces(container, tracks, segment_s, config), tracks, muxer)
                return
            end_s = last_s(iterate_packets(container, tracks), begin_s(tracks))
            duration_s = end_s - begin_s(tracks)
        yield _whole(file, tracks, duration_s, config)


def _pieces(
    container: InputContainer, tracks: Tracks, segment_s: float, config: MediaConfig
) -> Iterator[_Piece]:
    """Divide the packets in one pass; a piece comes out once its sound is complete.

    The video leads: it says where the cuts are. Without one, the sound does.
    """
    leader = tracks.present[0]
    piece = _Piece(begin_s(tracks))
    waiting: deque[_Piece] = deque()
    sound: deque[tuple[Packet, float]] = deque()
    reached_s, heard_s = -math.inf, -math.inf if len(tracks.present) > 1 else math.inf
    for packet, time_s in timed_packets(container, tracks):
        if packet.stream_index == leader.index:
            if packet.is_keyframe and piece.leading and time_s >= piece.start_s + segment_s - TOLERANCE_S:
                piece.end_s = time_s
                waiting.append(piece)
                piece = _Piece(time_s)
            piece.leading.append(packet)
            reached_s = time_s
        else:
            sound.append((packet, time_s))
            heard_s = time_s
        _count_bytes(packet, piece, config)
        while waiting and (heard_s >= waiting[0].end_s or reached_s >= waiting[0].end_s + MAX_SKEW_S):
            yield _with_sound(waiting.popleft(), sound)
    for last in (*waiting, piece):
        yield _with_sound(last, sound)


def begin_s(tracks: Tracks) -> float:
    """When the first track begins."""
    return min(seconds(track.start_time or 0, track.time_base) for track in tracks.present)


def timed_packets(container: InputContainer, tracks: Tracks) -> Iterator[tuple[Packet, float]]:
    """Each packet and when it is shown; one that does not say counts as shown with the one before."""
    times_s = dict.fromkeys((track.index for track in tracks.present), begin_s(tracks))
    for packet in iterate_packets(container, tracks):
        time_s = packet_time_s(packet)
        if time_s is not None:
            times_s[packet.stream_index] = time_s
        yield packet, times_s[packet.stream_index]


def _count_bytes(packet: Packet, piece: _Piece, config: MediaConfig) -> None:
    piece.num_bytes += packet.size
    if piece.num_bytes > config.max_bytes:
        raise SegmentError(
            "decode",
            f"no key frame within {config.max_bytes} bytes from {piece.start_s:.1f} s on; encode the video "
            "with key frames every few seconds (ffmpeg -g), or raise media.max_bytes",
        )


def _with_sound(piece: _Piece, sound: deque[tuple[Packet, float]]) -> _Piece:
    """Give a piece the packets that sound before its end."""
    while sound and sound[0][1] < piece.end_s:
        piece.sound.append(sound.popleft()[0])
    return piece


def _copied(pieces: Iterator[_Piece], tracks: Tracks, muxer: str) -> Iterator[Cut]:
    """Each piece as a file of its own."""
    origin_s = begin_s(tracks)
    for sequence, piece in enumerate(pieces):
        end_s = (
            piece.end_s if piece.end_s < math.inf else last_s((*piece.leading, *piece.sound), piece.start_s)
        )
        data, num_lost = remux(
            (piece.leading, piece.sound), tracks, muxer, piece.start_s, is_first=sequence == 0
        )
        if num_lost == len(piece.leading) + len(piece.sound):
            begin = f"{piece.start_s - origin_s:.1f} s"
            raise SegmentError(
                "decode", f"no readable packet from {begin} on: the file is truncated or damaged"
            )
        yield Cut(
            sequence=sequence,
            start_s=piece.start_s - origin_s,
            duration_s=max(0.0, end_s - piece.start_s),
            data=data,
            content_type=_content_type(muxer, tracks),
            suffix=TYPES[muxer][1],
            warning=f"{num_lost} damaged packets were left out" if num_lost else None,
        )


def last_s(packets: Iterable[Packet], begin_s: float) -> float:
    """When the last packet has been shown."""
    return max(
        (
            time_s + seconds(packet.duration or 0, packet.time_base)
            for packet in packets
            if (time_s := packet_time_s(packet)) is not None
        ),
        default=begin_s,
    )


def _whole(file: BinaryIO, tracks: Tracks, duration_s: float, config: MediaConfig) -> Cut:
    """The file as it is."""
    source = sniff(file) or "matroska"
    codecs = " and ".join(track.codec_context.name for track in tracks.present)
    data = file.read(config.max_bytes + 1)
    if len(data) > config.max_bytes:
        raise SegmentError(
            "decode",
            f"{codecs} can't be copied into another container, and the whole file is larger than "
            f"{config.max_bytes} bytes; encode it as h264 and aac",
        )
    return Cut(
        sequence=0,
        start_s=0.0,
        duration_s=max(0.0, duration_s),
        data=data,
        content_type=_content_type(source, tracks),
        suffix=TYPES[source][1],
        warning=f"{codecs} can't be copied into another container, so the file stays whole; "
        "encode it as h264 and aac to have it cut",
    )


def _content_type(name: str, tracks: Tracks) -> str:
    return f"{'audio' if tracks.video is None else 'video'}/{TYPES[name][0]}"
