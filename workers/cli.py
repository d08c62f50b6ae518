"""The command line `hctdmg`: options and their help.

What a command does is in a module of its own, imported when it runs. Importing this loads no torch, Ray,
OpenCV or matplotlib, so that `--help` answers at once.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from workers import cli_data, cli_experiment, cli_offline, cli_train
from workers.cli_config import config_app
from workers.cli_dlq import dlq_app
from workers.cli_options import (
    AllowDuplicates,
    AsJson,
    BootstrapServers,
    Cluster,
    ConfigOption,
    ConfigPath,
    OptionalVideos,
    Overrides,
    OwnCluster,
    ReplayDeadLetters,
    ReplayFrom,
    ReplayGroup,
    ReplayOutput,
    SegmentSeconds,
    TranscriptOption,
    UntilEnd,
    Video,
    Videos,
    kafka_overrides,
)
from workers.output import EXIT_FAILURE, EXIT_INTERRUPTED, note, report, working

app = typer.Typer(
    name="hctdmg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(dlq_app, name="dlq")
app.add_typer(config_app, name="config")
app.add_typer(cli_data.app, name="data")


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; the same as HCTDMG_DEBUG=1.")
    ] = False,
) -> None:
    """Affect in streaming video: segments from Kafka, the HCT-DMG model on Ray Serve, one event per segment.

    Start with:  hctdmg demo
    """
    if debug:
        os.environ["HCTDMG_DEBUG"] = "1"


@app.command("demo")
def _demo(
    videos: OptionalVideos = None,
    transcript: TranscriptOption = None,
    segment_s: SegmentSeconds = 5.0,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Run the whole system here: embedded broker, Ray Serve, your videos or clips of its own, the events.

    Example:  hctdmg demo talk.mp4 interview.mp4
    """
    with working("starting", announce=True):
        from workers.demo import demo
        from workers.submit import name_videos

    return demo(name_videos(videos or (), None, transcript), segment_s, overrides or (), as_json)


@app.command("analyze")
def _analyze(
    video: Video,
    stream_id: Annotated[
        str | None, typer.Option(help="Stream of the segments. Default: the file's name without its ending.")
    ] = None,
    transcript: TranscriptOption = None,
    segment_s: SegmentSeconds = 5.0,
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name, or a folder.")
    ] = "hct-dmg-starter",
    as_json: AsJson = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Also draw the timeline.", show_default=False)
    ] = None,
) -> int:
    """Read one video in this process, without Kafka or Ray, and print its timeline.

    Example:  hctdmg analyze talk.mp4 --transcript talk.txt --plot talk.png
    """
    with working("starting"):
        from pipelines.submission import read_transcript
        from workers.analyze import Request, analyze

    words = read_transcript(transcript) if transcript is not None else None
    return analyze(Request(video, stream_id or video.stem, segment_s, words, checkpoint, as_json, plot))


@app.command("run")
def _run(
    config: ConfigPath = None,
    overrides: Overrides = None,
    address: OwnCluster = None,
    begin: ReplayFrom = None,
    group: ReplayGroup = None,
    output_topic: ReplayOutput = None,
    dead_letter_topic: ReplayDeadLetters = None,
    allow_duplicates: AllowDuplicates = False,
    until_end: UntilEnd = False,
) -> int:
    """Run the worker in the foreground; prints "ready" when it consumes; SIGTERM or Ctrl-C drains it.

    Example:  hctdmg run ray_config.yaml --set kafka.bootstrap_servers=broker:9092
    """
    with working("starting", announce=True):
        from workers.replay import Request, prepare_run
        from workers.run import run_worker

    request = Request(begin, group, output_topic, dead_letter_topic, allow_duplicates, until_end)
    prepared = prepare_run(config, overrides or (), request, address)
    note(f"settings from {prepared.config.path}")
    return run_worker(prepared.config, address, prepared.is_over)


@app.command("status")
def _status(config: ConfigPath = None, address: Cluster = None, as_json: AsJson = False) -> int:
    """Show what each consumer of a running application is doing, and why one is halted.

    Example:  hctdmg status ray_config.yaml --address 10.0.0.5:6379 --json
    """
    with working("connecting"):
        from workers.config_file import read_config_file
        from workers.operate import show_status

    return show_status(read_config_file(config), address, as_json)


@app.command("resume")
def _resume(config: ConfigPath = None, address: Cluster = None, as_json: AsJson = False) -> int:
    """Let consumers go on that too many dead letters have halted; they begin where they stopped.

    Example:  hctdmg resume ray_config.yaml --address 10.0.0.5:6379
    """
    with working("connecting"):
        from workers.config_file import read_config_file
        from workers.operate import resume

    return resume(read_config_file(config), address, as_json)


@app.command("submit")
def _submit(
    videos: Videos,
    stream_id: Annotated[
        str | None,
        typer.Option(help="Stream of all the segments. Default: each file's name without its ending."),
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    topic: Annotated[
        str | None, typer.Option(help="Default: kafka.input_topic of the settings.", show_default=False)
    ] = None,
    segment_s: SegmentSeconds = 5.0,
    transcript: TranscriptOption = None,
    inline: Annotated[
        bool, typer.Option("--inline", help="Send the media in the messages, not as files to fetch.")
    ] = False,
    segments_dir: Annotated[
        Path, typer.Option(file_okay=False, help="Where the cuts are written for the worker to fetch.")
    ] = Path("segments"),
    config: ConfigOption = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Cut videos into segments and publish them.

    Example:  hctdmg submit talk.mp4 --stream-id cam-7 --bootstrap-servers localhost:9092
    """
    with working("starting"):
        from workers.config_file import read_config_file
        from workers.submit import name_videos, submit

    settings = read_config_file(
        config, kafka_overrides(overrides, bootstrap_servers, input_topic=topic)
    ).settings
    return submit(
        name_videos(videos, stream_id, transcript),
        settings.kafka,
        settings.media,
        segment_s,
        None if inline else segments_dir,
        as_json,
    )


@app.command("watch")
def _watch(
    bootstrap_servers: BootstrapServers = None,
    topic: Annotated[
        str | None, typer.Option(help="Default: kafka.output_topic of the settings.", show_default=False)
    ] = None,
    max_events: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many events.", show_default=False)
    ] = None,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Stop after so many seconds; exit 1 if --max-events had not come.",
            show_default=False,
        ),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Begin with the oldest event, not with the next one.")
    ] = False,
    config: ConfigOption = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Follow the events, committed ones only; Ctrl-C stops.

    Example:  hctdmg watch --bootstrap-servers localhost:9092 --from-beginning --max-events 10 --json
    """
    with working("starting"):
        from workers.config_file import read_config_file
        from workers.watch import Limits, watch

    settings = read_config_file(
        config, kafka_overrides(overrides, bootstrap_servers, output_topic=topic)
    ).settings
    return watch(settings.kafka, Limits(max_events, timeout_s), from_beginning, as_json)


@app.command("doctor")
def _doctor(
    config: ConfigPath = None,
    overrides: Overrides = None,
    bootstrap_servers: BootstrapServers = None,
    as_json: AsJson = False,
) -> int:
    """Look at packages, codecs, models, Ray, GPU and a broker that is named; say how to fix what fails.

    Example:  hctdmg doctor ray_config.yaml --bootstrap-servers localhost:9092
    """
    with working("starting"):
        from workers.config_file import read_config_file
        from workers.doctor import doctor

    settings = read_config_file(config, kafka_overrides(overrides, bootstrap_servers)).settings
    return doctor(settings, config is not None or bootstrap_servers is not None, as_json)


for _command in (
    cli_offline.extract,
    cli_train.train,
    cli_train.evaluate,
    cli_experiment.experiment,
    cli_offline.export,
):
    app.command(_command.__name__)(_command)


def main() -> None:
    """Run the command line and exit; SIGTERM ends it like Ctrl-C, so that whatever was started is stopped."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        Its exit status; an error has then been written to stderr as one line.
    """
    try:
        status = app(list(arguments), prog_name="hctdmg", standalone_mode=False)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error, but nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except Exception as error:  # noqa: BLE001 - the edge of the program: users see one line, not a traceback
        return report(error)
    return status if isinstance(status, int) else 0
