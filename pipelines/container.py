"""Opening a media container that nobody vouches for, and reading its packets within the limits.

libav would probe every demuxer it has, and some of them (SDP, HLS, ffconcat) open sockets and files. So the
format is told from the first bytes here, that one demuxer is forced, and it may open nothing else.

Knows containers and packets. Does not know what a decoder makes of them.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, TypeAlias

import av
import av.container
import av.logging
from av.audio.stream import AudioStream
from av.packet import Packet as AnyPacket
from av.stream import Disposition
from av.video.stream import VideoStream

from pipelines.deadline import Deadline
from pipelines.errors import SegmentError
from pipelines.media import ContainerFormat, MediaConfig

Packet: TypeAlias = "AnyPacket[Any]"  # generic in PyAV's stubs only
"""A packet of whichever track."""

# libav describes a damaged file in a line for each macroblock; what matters is in our own messages.
av.logging.set_level(None)

DEMUXERS: dict[ContainerFormat, str] = {"mp4": "mov", "webm": "matroska"}
"""libav's names where they differ from ours."""

DECODERS = (
    "h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "mjpeg", "theora",
    "h263", "prores",
    "aac", "aac_latm", "mp3", "mp3float", "mp2", "mp2float", "opus", "libopus", "vorbis", "flac", "alac",
    "ac3", "eac3", "amrnb", "amrwb",
    "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be",
    "pcm_f64le", "pcm_u8", "pcm_s8", "pcm_alaw", "pcm_mulaw",
)  # fmt: skip
"""Decoders that may run: what cameras, phones and browsers write. libav has hundreds more, most of them
seldom tested against hostile input."""

ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof")
"""Box types with which an MP4 or QuickTime file may begin."""

MAX_AUDIO_PACKETS_HZ = 1000
"""The shortest packets in use are Vorbis' blocks of 64 samples, 690 a second at 44.1 kHz."""

HEAD_BYTES = 2048
TS_PACKETS = ((188, 0), (192, 4), (204, 0))
"""Bytes of a transport stream's packet, and where its sync byte lies: plain, with a time, with parity."""


@dataclass(frozen=True)
class Tracks:
    """The tracks that count: the first of each kind that is no cover picture and may be decoded."""

    video: VideoStream | None
    audio: AudioStream | None

    @property
    def present(self) -> tuple[VideoStream | AudioStream, ...]:
        """Those that exist."""
        return tuple(track for track in (self.video, self.audio) if track is not None)


def sniff(file: BinaryIO) -> ContainerFormat | None:
    """Tell the container's format from its first bytes; None for one that has no name here.

    The file is left at its start.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head[:3] == b"ID3" and len(head) >= 10:  # a tag before the sound; its size has 7 bits a byte
        tag_bytes = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
        file.seek(tag_bytes)
        head = file.read(HEAD_BYTES)
        file.seek(0)
        return _sniff_elementary(head) or "mp3"
    file.seek(0)
    return _sniff_container(head) or _sniff_elementary(head)


def _sniff_container(head: bytes) -> ContainerFormat | None:
    if head[4:8] in ATOMS:
        return "mp4" if head[4:8] in (b"ftyp", b"styp") and head[8:12] != b"qt  " else "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm" if b"webm" in head[:64] else "matroska"
    if head[:4] == b"\x00\x00\x01\xba":
        return "mpeg"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    for size, offset in TS_PACKETS:
        syncs = head[offset::size][:2]  # the third may be damaged: so much is decoded all the same
        if len(head) >= size and syncs == b"\x47" * len(syncs):
            return "mpegts"
    return None


def _sniff_elementary(head: bytes) -> ContainerFormat | None:
    if head[:4] == b"fLaC":
        return "flac"
    if len(head) < 2 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:  # 12 bits of sync, layer 0
        return "aac"
    return "mp3" if head[1] & 0xE0 == 0xE0 and head[1] & 0x06 else None  # 11 bits of sync, layer I to III


@contextmanager
def open_container(file: BinaryIO, config: MediaConfig) -> Iterator[av.container.InputContainer]:
    """Open media with the one demuxer that its first bytes ask for.

    Raises:
        SegmentError: Stage "decode": an unknown or forbidden format, no readable header, too many tracks.
    """
    container_format = sniff(file)
    if container_format is None:
        file.seek(0)
        raise SegmentError(
            "decode",
            f"no media container begins with {file.read(16)!r}; send one of {', '.join(config.formats)}",
        )
    if container_format not in config.formats:
        raise SegmentError(
            "decode",
            f"container format {container_format!r} is not allowed; send one of {', '.join(config.formats)}, "
            "or add it to media.formats",
        )
    try:
        container = av.open(
            file,
            format=DEMUXERS.get(container_format, container_format),
            options={
                # The media are in memory: nothing that they name may be opened, whatever the protocol.
                "protocol_whitelist": "none",
                "codec_whitelist": ",".join(DECODERS),
                "max_pixels": str(decoder_pixels(config)),
            },
            metadata_errors="replace",
        )
    except (av.FFmpegError, ValueError) as error:
        raise SegmentError(
            "decode",
            f"damaged or truncated {container_format} file: {error_text(error)}; send it again whole",
        ) from None
    with container:
        if len(container.streams) > config.max_streams:
            raise SegmentError(
                "decode",
                f"{len(container.streams)} tracks, limit {config.max_streams}; send the video and one audio "
                "track, or raise media.max_streams",
            )
        yield container


def choose_tracks(container: av.container.InputContainer, config: MediaConfig) -> Tracks:
    """Pick the video and the audio track.

    Raises:
        SegmentError: Stage "decode": there is neither, or its frames are too large.
    """
    videos = [track for track in container.streams.video if not _is_picture(track) and _may_decode(track)]
    audios = [track for track in container.streams.audio if _may_decode(track)]
    tracks = Tracks(videos[0] if videos else None, audios[0] if audios else None)
    if not tracks.present:
        found = ", ".join(_describe(track) for track in container.streams) or "none"
        raise SegmentError(
            "decode", f"no video or audio track that can be decoded (tracks: {found}); use h264 and aac"
        )
    if tracks.video is not None:
        check_pixels(tracks.video.codec_context.width, tracks.video.codec_context.height, config)
    return tracks


def decoder_pixels(config: MediaConfig) -> int:
    """Most pixels of a picture as decoders count them: with edges, each line filled up to 64 pixels or so.

    It keeps a damaged header from asking for gigabytes; `check_pixels` is exact.
    """
    return 2 * config.max_pixels + 2**20


def check_pixels(width_px: int, height_px: int, config: MediaConfig) -> None:
    """Refuse large pictures.

    Raises:
        SegmentError: Stage "decode".
    """
    if width_px * height_px > config.max_pixels:
        raise SegmentError(
            "decode",
            f"frames of {width_px} x {height_px} px, limit {config.max_pixels} px in all; scale the video "
            "down, or raise media.max_pixels",
        )


def read_packets(
    container: av.container.InputContainer, tracks: Tracks, config: MediaConfig, deadline: Deadline
) -> dict[int, list[Packet]]:
    """Read the packets of the chosen tracks in one pass, without decoding any.

    Returns:
        Packets by the index of their track.

    Raises:
        SegmentError: Stage "decode": too many frames, too long, or the deadline passed.
    """
    packets: dict[int, list[Packet]] = {track.index: [] for track in tracks.present}
    first_s, last_s = math.inf, -math.inf
    for packet in iterate_packets(container, tracks):
        deadline.check("decode")
        packets[packet.stream_index].append(packet)
        _check_num_packets(packet.stream.type, len(packets[packet.stream_index]), config)
        time_s = packet_time_s(packet)
        if time_s is not None and not packet.is_discard:
            first_s, last_s = min(first_s, time_s), max(last_s, time_s)
            check_duration(last_s - first_s, config)
    return packets


def iterate_packets(container: av.container.InputContainer, tracks: Tracks) -> Iterator[Packet]:
    """Each packet of the chosen tracks; a container that breaks off gives what came before."""
    try:
        for packet in container.demux(*tracks.present):
            if packet.size > 0:
                yield packet
    # PyAV's own IndexError, after the last packet, when damage made a new track appear half-way.
    except (av.FFmpegError, IndexError):
        return


def _check_num_packets(kind: str, num_packets: int, config: MediaConfig) -> None:
    if kind == "video" and num_packets > config.max_frames:
        raise SegmentError(
            "decode",
            f"more than {config.max_frames} video frames; cut shorter segments, or raise media.max_frames",
        )
    if kind == "audio" and num_packets > MAX_AUDIO_PACKETS_HZ * max(1.0, config.max_duration_s):
        raise SegmentError(
            "decode",
            f"more than {num_packets - 1} audio packets, limit {MAX_AUDIO_PACKETS_HZ} for each of the "
            f"{config.max_duration_s:g} s that a segment may last; encode the sound again",
        )


def check_duration(duration_s: float, config: MediaConfig) -> None:
    """Refuse long media.

    Raises:
        SegmentError: Stage "decode".
    """
    if duration_s > config.max_duration_s:
        raise SegmentError(
            "decode",
            f"lasts {duration_s:.1f} s or more by its time stamps, limit {config.max_duration_s:g} s; cut "
            "shorter segments, or raise media.max_duration_s",
        )


def packet_time_s(packet: Packet) -> float | None:
    """When a packet is shown, in seconds of the container's clock; None when it does not say."""
    stamp = packet.dts if packet.pts is None else packet.pts
    return None if stamp is None else seconds(stamp, packet.time_base)


def seconds(stamp: int, time_base: Fraction | None) -> float:
    """A time stamp or a duration of libav in seconds."""
    return float(stamp * (time_base or 0))


def error_text(error: Exception) -> str:
    """What libav says, without the file's name and the C function's."""
    return getattr(error, "strerror", None) or str(error)


def _is_picture(track: VideoStream) -> bool:
    return bool(track.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _may_decode(track: VideoStream | AudioStream) -> bool:
    return track.codec_context is not None and track.codec_context.codec.name in DECODERS


def _describe(track: av.stream.Stream) -> str:
    return f"{track.type} {track.codec_context.name if track.codec_context else 'unknown'}"
