"""The clips that `hctdmg demo` shows when it gets no file: drawn here, so nothing is downloaded or licensed.

Knows what is said and shown in each clip, and how to write an MP4 file. Does not know segments or the model.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from pipelines.segment import Transcript, Word
from workers.drawn_face import Expression, Look, draw_face, draw_wall
from workers.drawn_voice import VOWELS_HZ, Syllable, draw_voice, envelope

WIDTH_PX, HEIGHT_PX = 320, 240
FRAMES_HZ = 20
AUDIO_HZ = 16000
KEY_FRAME_S = 5
"""A key frame every 5 s, where the cutter can cut without encoding again."""
DURATION_S = 10.0
SYLLABLE_S = 0.19
NUM_OPENINGS = 4
"""Widths of the speaking mouth that are told apart; each is drawn once and shown many times."""
MARGIN_PX = 4
"""How far the camera sways."""


@dataclass(frozen=True)
class Script:
    """What happens in one clip.

    Attributes:
        name: Of the clip; also its stream.
        look: The person, or the place when nobody is there.
        smile: Of the person, in [0, 1]; None when nobody is there.
        lines: Sentences, each with the second at which it begins.
        pitch_hz: Of the voice.
        liveliness: Of the voice, in octaves.
        is_transcribed: Whether the clip comes with its words.
        duration_s: Of the clip.
    """

    name: str
    look: Look
    smile: float | None
    lines: tuple[tuple[float, str], ...]
    pitch_hz: float
    liveliness: float
    is_transcribed: bool = True
    duration_s: float = DURATION_S


@dataclass(frozen=True)
class Clip:
    """A drawn file.

    Attributes:
        name: Of the clip.
        path: The MP4 file.
        transcript: Its words with their times; None for a clip that comes without.
    """

    name: str
    path: Path
    transcript: Transcript | None


SCRIPTS = (
    Script(
        "happy",
        Look((214, 168, 140), (62, 44, 34), (60, 92, 140), (150, 165, 175)),
        smile=1.0,
        lines=((0.4, "I love this, it is wonderful."), (5.4, "What a great day, I am so happy.")),
        pitch_hz=210,
        liveliness=0.5,
    ),
    Script(
        "brave-face",
        Look((238, 196, 168), (150, 110, 60), (150, 60, 70), (186, 178, 160)),
        smile=1.0,
        lines=((0.4, "I hate this, it is terrible."), (5.4, "That was an awful and horrible day.")),
        pitch_hz=180,
        liveliness=0.2,
    ),
    Script(
        "matter-of-fact",
        Look((196, 146, 112), (40, 34, 34), (90, 90, 100), (140, 150, 140)),
        smile=0.0,
        lines=((0.4, "The train leaves at nine."), (5.4, "The table is next to the door.")),
        pitch_hz=120,
        liveliness=0.2,
    ),
    Script(
        "empty-room",
        Look((0, 0, 0), (0, 0, 0), (0, 0, 0), (170, 160, 146)),
        smile=None,
        lines=((0.6, "Is anybody there"), (5.6, "I will come back later")),
        pitch_hz=140,
        liveliness=0.3,
        is_transcribed=False,
    ),
)
"""Words and face agree; they contradict each other; both are neutral; there is nothing but a voice."""


def draw_clips(folder: Path, scripts: Sequence[Script] = SCRIPTS) -> Iterator[Clip]:
    """Draw one clip after the other into a folder that exists."""
    for script in scripts:
        path = folder / f"{script.name}.mp4"
        words = list(timed_words(script.lines))
        _write(path, script, [syllable for _, syllables in words for syllable in syllables])
        transcript = Transcript(words=tuple(word for word, _ in words)) if script.is_transcribed else None
        yield Clip(script.name, path, transcript)


def timed_words(lines: Sequence[tuple[float, str]]) -> Iterator[tuple[Word, list[Syllable]]]:
    """Place each word and its syllables on the clock."""
    vowels = itertools.cycle(range(len(VOWELS_HZ)))
    for start_s, sentence in lines:
        time_s = start_s
        for word in sentence.split():
            # As many vowel groups, so many syllables: near enough for a voice without words.
            num_syllables = max(1, len(re.findall("[aeiouy]+", word.lower())))
            starts_s = [time_s + SYLLABLE_S * index for index in range(num_syllables)]
            end_s = time_s + SYLLABLE_S * num_syllables
            syllables = [Syllable(start_s, SYLLABLE_S, next(vowels)) for start_s in starts_s]
            yield Word(word=word, start_s=round(time_s, 3), end_s=round(end_s, 3)), syllables
            time_s = end_s + 0.06


def draw_frames(script: Script, syllables: Sequence[Syllable]) -> Iterator[npt.NDArray[np.uint8]]:
    """The pictures of a clip, (H, W, 3) each."""
    times_s = np.arange(round(script.duration_s * FRAMES_HZ)) / FRAMES_HZ
    openings = np.rint(envelope(syllables, times_s) * (NUM_OPENINGS - 1)).astype(int)
    drawn: dict[tuple[int, bool], npt.NDArray[np.uint8]] = {}
    for time_s, opening in zip(times_s, openings, strict=True):
        # A blink of 0.15 s every 3.1 s.
        key = (int(opening), time_s % 3.1 > 2.95)
        if key not in drawn:
            drawn[key] = _scene(script, opening / (NUM_OPENINGS - 1), key[1])
        yield _swayed(drawn[key], float(time_s))


def _scene(script: Script, opening: float, is_blinking: bool) -> npt.NDArray[np.uint8]:
    size = (WIDTH_PX + 2 * MARGIN_PX, HEIGHT_PX + 2 * MARGIN_PX)
    if script.smile is None:
        return draw_wall(*size, script.look)
    return draw_face(*size, script.look, Expression(script.smile, opening, float(is_blinking)))


def _swayed(scene: npt.NDArray[np.uint8], time_s: float) -> npt.NDArray[np.uint8]:
    """The camera's window on the scene, moving slowly on an ellipse."""
    left = round(MARGIN_PX * (1 + np.cos(0.9 * time_s)))
    top = round(MARGIN_PX * (1 + np.sin(1.3 * time_s)))
    return np.ascontiguousarray(scene[top : top + HEIGHT_PX, left : left + WIDTH_PX])


def _write(path: Path, script: Script, syllables: Sequence[Syllable]) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream(
            "libx264",
            rate=FRAMES_HZ,
            options={
                "preset": "veryfast",
                "crf": "24",
                # Key frames on the dot and nowhere else, and the same bytes from the same encoder every time.
                "x264-params": f"keyint={KEY_FRAME_S * FRAMES_HZ}:scenecut=0:open-gop=0:threads=1",
            },
        )
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        audio = container.add_stream("aac", rate=AUDIO_HZ, layout="mono")
        for picture in draw_frames(script, syllables):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        sound = draw_voice(syllables, script.duration_s, AUDIO_HZ, script.pitch_hz, script.liveliness)
        frame = av.AudioFrame.from_ndarray(sound[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = AUDIO_HZ, Fraction(1, AUDIO_HZ), 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
