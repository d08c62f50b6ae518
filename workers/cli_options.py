"""Options that several commands of `hctdmg` share, with their help.

Imports nothing heavy, as `workers.cli`. Does not know any command.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="CONFIG.yaml",
        help="A Ray Serve config file. Default: ray_config.yaml here, else the shipped one.",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="CONFIG.yaml",
        help="Settings, for the broker's. Default: ray_config.yaml here, else the shipped one.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="GROUP.KEY=VALUE",
        help="Override a setting; the value is YAML. Repeatable.",
        show_default=False,
    ),
]
Video = Annotated[
    Path,
    typer.Argument(
        metavar="VIDEO",
        exists=True,
        dir_okay=False,
        readable=True,
        help="A video or sound file.",
        show_default=False,
    ),
]
Videos = Annotated[
    list[Path],
    typer.Argument(
        metavar="VIDEO...",
        exists=True,
        dir_okay=False,
        readable=True,
        help="Video or sound files.",
        show_default=False,
    ),
]
OptionalVideos = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="VIDEO...",
        exists=True,
        dir_okay=False,
        readable=True,
        help="Video or sound files. Default: clips drawn here.",
        show_default=False,
    ),
]
TranscriptOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|FILE",
        help="What is said: text, a .txt file, or a .json file with words and their times.",
        show_default=False,
    ),
]
SegmentSeconds = Annotated[
    float, typer.Option(min=0.5, help="Wanted length of a segment, seconds; it ends at the next key frame.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Ray cluster where the application runs. Default: the one on this machine.",
        show_default=False,
    ),
]
OwnCluster = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Ray cluster to use. Default: a Ray of its own, here.",
        show_default=False,
    ),
]
BootstrapServers = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Kafka broker. Default: as in the settings.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout, nothing else there.")]
ReplayFrom = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="POSITION",
        help="Replay from beginning, a time, an offset, or one for each partition (0:1187,1:0), beside the "
        "live worker that the settings describe.",
        show_default=False,
    ),
]
ReplayGroup = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="With --from: its own consumer group.", show_default=False),
]
ReplayOutput = Annotated[
    str | None, typer.Option(metavar="NAME", help="With --from: where its events go.", show_default=False)
]
ReplayDeadLetters = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="With --from: where its dead letters go. Default: OUTPUT_TOPIC.dlq.",
        show_default=False,
    ),
]
AllowDuplicates = Annotated[
    bool, typer.Option("--allow-duplicates", help="With --from: it may write to the live worker's topics.")
]
UntilEnd = Annotated[
    bool,
    typer.Option("--until-end", help="With --from: stop when all that was there at its start is answered."),
]


def kafka_overrides(
    overrides: Sequence[str] | None, bootstrap_servers: str | None, **topics: str | None
) -> list[str]:
    """The user's --set options, with --bootstrap-servers and --topic as further ones."""
    own = {"bootstrap_servers": bootstrap_servers, **topics}
    set_here = [f"kafka.{key}={json.dumps(value)}" for key, value in own.items() if value is not None]
    return [*(overrides or ()), *set_here]
