"""Which packets a decoder can begin at, with nothing behind them that refers to anything before.

A container's key frame, or an I picture, promises no such thing: the pictures after it may refer to those before
(open GOP, gradual refresh). H.264's own mark does: instantaneous decoder refresh, IDR.

Knows how H.264 is divided into NAL units (ITU-T H.264, 7.3.1 and annex B; ISO/IEC 14496-15, 5.3.3). Does not know
how a picture is coded, and nothing of other codecs, which have no such packets here.
"""

from collections.abc import Iterator

from av.video.stream import VideoStream

from pipelines.container import Packet

START_CODE = b"\x00\x00\x01"
SLICES = range(1, 6)
"""NAL unit types of a picture's own data."""
IDR = 5
TYPE_BITS = 0x1F
CONFIGURED = 1
"""First byte of an extradata that says how long each unit's length field is; a stream with start codes has none."""
LENGTH_AT, LENGTH_BITS = 4, 0x3


def is_restart(packet: Packet, track: VideoStream) -> bool:
    """Whether no picture that is decoded later refers to one that is decoded before this packet's."""
    if track.codec_context.codec.name != "h264" or not packet.is_keyframe:
        return False
    extradata = track.codec_context.extradata or b""
    if len(extradata) > LENGTH_AT and extradata[0] == CONFIGURED:
        types = _types_by_length(bytes(packet), (extradata[LENGTH_AT] & LENGTH_BITS) + 1)
    else:
        types = _types_by_start_code(bytes(packet))
    return next((kind for kind in types if kind in SLICES), None) == IDR


def _types_by_length(data: bytes, length_bytes: int) -> Iterator[int]:
    """Of units that each begin with their length."""
    at = 0
    while at + length_bytes < len(data):
        yield data[at + length_bytes] & TYPE_BITS
        at += length_bytes + int.from_bytes(data[at : at + length_bytes])


def _types_by_start_code(data: bytes) -> Iterator[int]:
    """Of units that each begin with a start code."""
    at = data.find(START_CODE)
    while 0 <= at < len(data) - len(START_CODE):
        yield data[at + len(START_CODE)] & TYPE_BITS
        at = data.find(START_CODE, at + len(START_CODE))
