"""The labelled clips of `docs/tutorial.md`: ten drawn people, each pleased, displeased and matter-of-fact.

`python -m workers.tutorial --out clips` writes them and `clips/labels.csv`, the manifest. Face, words and label agree,
so that there is something to learn. They teach how the commands go together, nothing about people. Knows what is said
and shown. Does not know how anything is drawn or learned.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from workers.clips import SCRIPTS, Script, draw_clips
from workers.drawn_face import Look

DURATION_S = 4.0
MANIFEST = "labels.csv"
HEADER = ("path", "start_s", "end_s", "transcript", "label", "split")


@dataclass(frozen=True)
class Mood:
    """How somebody feels in a clip.

    Attributes:
        name: Part of the file's name.
        smile: In [0, 1].
        liveliness: Of the voice, in octaves.
        said: A sentence for each person, and its sentiment from -3 to 3.
    """

    name: str
    smile: float
    liveliness: float
    said: tuple[tuple[str, float], ...]


PEOPLE = ("ada", "ben", "cleo", "dan", "eve", "finn", "gus", "hope", "ivan", "june")
SPLITS = ("train",) * 6 + ("valid",) * 2 + ("test",) * 2
"""By person: nobody is in two of them."""

MOODS = (
    Mood(
        "pleased",
        smile=1.0,
        liveliness=0.5,
        said=(
            ("I love this, it is wonderful.", 2.8),
            ("What a great day, I am so happy.", 2.6),
            ("It is good, I like it.", 1.6),
            ("That was an excellent and beautiful film.", 2.4),
            ("I enjoyed it, a fine evening.", 1.8),
            ("This is the best news, fantastic.", 2.8),
            ("She is kind and I like her.", 1.8),
            ("It was lovely, thank you so much.", 2.2),
            ("A wonderful story, I am glad.", 2.4),
            ("I am happy, it is a good plan.", 2.0),
        ),
    ),
    Mood(
        "displeased",
        smile=0.0,
        liveliness=0.2,
        said=(
            ("I hate this, it is terrible.", -2.8),
            ("What an awful day, I am so sad.", -2.6),
            ("It is bad, I dislike it.", -1.6),
            ("That was a horrible and stupid film.", -2.4),
            ("I was bored, a poor evening.", -1.8),
            ("This is the worst news, dreadful.", -2.8),
            ("He is rude and I dislike him.", -1.8),
            ("It was ugly, a painful mistake.", -2.2),
            ("A terrible story, I am angry.", -2.4),
            ("I am afraid, it is a bad plan.", -2.0),
        ),
    ),
    Mood(
        "matter-of-fact",
        smile=0.0,
        liveliness=0.3,
        said=(
            ("The train leaves at nine.", 0.0),
            ("The table is next to the door.", 0.0),
            ("We meet on the second floor.", 0.0),
            ("The film lasts two hours.", 0.0),
            ("It is ten past four.", 0.0),
            ("The news begin at eight.", 0.0),
            ("She lives in the next street.", 0.0),
            ("The bus stops at the station.", 0.0),
            ("The story has seven chapters.", 0.0),
            ("The plan has three parts.", 0.0),
        ),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the clips and write their manifest."""
    parser = argparse.ArgumentParser(prog="python -m workers.tutorial", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder; made if needed")
    folder: Path = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(_rows())
    for clip, _ in zip(draw_clips(folder, [script for script, _ in rows]), rows, strict=True):
        sys.stdout.write(f"{clip.path}\n")
    with open(folder / MANIFEST, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([HEADER, *(cells for _, cells in rows)])
    sys.stdout.write(f"{folder / MANIFEST}\n")
    return 0


def _rows() -> Iterator[tuple[Script, tuple[object, ...]]]:
    """Each clip's script, and its line of the manifest."""
    for number, (person, split) in enumerate(zip(PEOPLE, SPLITS, strict=True)):
        for mood in MOODS:
            sentence, label = mood.said[number]
            script = Script(
                name=f"{person}-{mood.name}",
                look=_look(number),
                smile=mood.smile,
                lines=((0.4, sentence),),
                pitch_hz=110 + 12 * number,
                liveliness=mood.liveliness,
                duration_s=DURATION_S,
            )
            yield script, (f"{script.name}.mp4", 0, DURATION_S, sentence, label, split)


def _look(number: int) -> Look:
    """The people of the demo with each other's hair, shirts and walls: 27 of them."""
    looks = [script.look for script in islice(SCRIPTS, 3)]
    return Look(
        skin=looks[number % 3].skin,
        hair=looks[number // 3 % 3].hair,
        shirt=looks[(number + number // 3) % 3].shirt,
        backdrop=looks[number // 9 % 3].backdrop,
    )


if __name__ == "__main__":
    sys.exit(main())
