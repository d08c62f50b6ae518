"""The command `hctdmg demo`: the whole system here, from video files to events, and whether it adds up.

Knows the order of things: clips, broker, application, segments, events, summary. Does not know how any works.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from kafka import KafkaConsumer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.media import MediaConfig
from pipelines.submission import submissions
from workers.clips import draw_clips
from workers.config import KafkaConfig, Settings
from workers.config_file import SHIPPED, ConfigFile, read_config_file
from workers.embedded import API_VERSION, EmbeddedBroker
from workers.kafka import open_producer
from workers.output import EXIT_FAILURE, note, print_json, working
from workers.run import running
from workers.show import Show
from workers.submit import Video, all_submissions, publish, receipt
from workers.watch import open_viewer, poll, read_event

NUM_PARTITIONS = 4
SILENCE_LIMIT_S = 90.0
"""No answer for so long means that something hangs: a segment's own deadline is 60 s."""
SETTLE_S = 0.5
"""How long to listen on after the last answer, for one that should not come."""


def demo(videos: Sequence[Video], segment_s: float, overrides: Sequence[str], as_json: bool) -> int:
    """Run the command.

    Args:
        videos: The user's files; none means clips drawn here.
        segment_s: Wanted length of a segment.
        overrides: Settings, "GROUP.KEY=VALUE".
        as_json: Events and summary as JSON lines instead of tables.

    Returns:
        The exit status: 0 only if every segment has exactly one event or dead letter.

    Raises:
        SegmentError: A file can't be read.
        ConfigError: Something needed is missing.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hctdmg-demo-")))
        if not videos:
            with working("no video given: drawing clips of its own", announce=True):
                videos = [Video(clip.path, clip.name, clip.transcript) for clip in draw_clips(folder)]
        else:
            _try_to_cut(videos, segment_s)
        topics = Settings().kafka
        names = (topics.input_topic, topics.output_topic, topics.dead_letter_topic)
        broker = stack.enter_context(EmbeddedBroker(dict.fromkeys(names, NUM_PARTITIONS)))
        config = _config(overrides, broker.bootstrap_servers, folder)
        with working("starting Ray and the application, some 20 s", announce=True):
            stack.enter_context(running(config))
        note(f"ready: embedded broker at {broker.bootstrap_servers}, for demonstration only")
        show = _stream(videos, segment_s, config.settings, folder, as_json)
        return _sum_up(show)


def _try_to_cut(videos: Sequence[Video], segment_s: float) -> None:
    """Fail before anything is started when a file can't be read."""
    for video in videos:
        next(submissions(video.path, video.stream_id, segment_s, None, MediaConfig()), None)


def _config(overrides: Sequence[str], bootstrap_servers: str, folder: Path) -> ConfigFile:
    here = (
        f"kafka.bootstrap_servers={bootstrap_servers}",
        f"kafka.api_version='{API_VERSION}'",
        f"media.allowed_roots=[{folder}]",
    )
    return read_config_file(SHIPPED, (*overrides, *here))


def _stream(
    videos: Sequence[Video], segment_s: float, settings: Settings, folder: Path, as_json: bool
) -> Show:
    """Publish every segment and wait until each has its answer."""
    kafka = settings.kafka
    show = Show(as_json)
    with ExitStack() as stack:
        producer = open_producer(kafka, transactional_id=None)
        stack.callback(producer.close, timeout=5)
        topics = (kafka.output_topic, kafka.dead_letter_topic)
        consumer = open_viewer(kafka, topics, from_beginning=True)
        stack.callback(consumer.close)
        live = None if as_json else stack.enter_context(Live(console=Console(), auto_refresh=False))
        for submission in all_submissions(videos, segment_s, settings.media):
            sent = publish(producer, kafka.input_topic, submission, folder)
            where = receipt(sent, kafka.request_timeout_s)
            show.published(submission.segment, (where.partition, where.offset))
            _listen(show, consumer, kafka, live)
        while not show.ledger.is_complete and show.silence_s < SILENCE_LIMIT_S:
            _listen(show, consumer, kafka, live)
        settled_s = time.monotonic() + SETTLE_S
        while time.monotonic() < settled_s:
            _listen(show, consumer, kafka, live)
    return show


def _listen(show: Show, consumer: KafkaConsumer, kafka: KafkaConfig, live: Live | None) -> None:
    """Take in what has come, and show it."""
    for record in poll(consumer):
        if record.topic == kafka.dead_letter_topic:
            show.dead_letter(record)
        elif (event := read_event(record)) is not None:
            show.event(event)
    if live is not None:
        live.update(show.table(live.console.height), refresh=True)


def _sum_up(show: Show) -> int:
    """Write the summary.

    Returns:
        The exit status.
    """
    summary = show.summary()
    if show.as_json:
        print_json({"summary": summary})
    else:
        _print_summary(summary)
    complaints = show.ledger.complaints()
    for complaint in complaints:
        note(f"error: {complaint}; the worker's log says why (HCTDMG_DEBUG=1 shows it)")
    return EXIT_FAILURE if complaints else 0


def _print_summary(summary: Mapping[str, int | float]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name in ("segments", "events", "incongruous", "insufficient_evidence", "dead_letters"):
        table.add_row(name.replace("_", " "), str(summary[name]))
    speed = f"{summary['real_time_factor']} ({summary['video_s']} s of video in {summary['took_s']} s)"
    table.add_row("real-time factor", speed)
    console = Console()
    console.print()
    console.print(table)
