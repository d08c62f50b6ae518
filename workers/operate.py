"""The commands `hctdmg status` and `hctdmg resume`: look at running consumers, let halted ones go on.

Knows where the application runs. Does not know why a consumer halts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from ray import serve

from pipelines.errors import ConfigError
from workers.config_file import ConfigFile
from workers.consumer import Status
from workers.output import EXIT_FAILURE, note, print_json, print_line
from workers.ray_start import join_cluster, stop_ray
from workers.run import Application


def show_status(config: ConfigFile, address: str | None, as_json: bool) -> int:
    """Print what each consumer is doing.

    Returns:
        The exit status: 1 when none answers.

    Raises:
        ConfigError: There is no such cluster or application.
    """
    with _connected(config, address) as application:
        found = application.statuses()
    if not found:
        note("error: no consumer answers: see `serve status`, or the log")
        return EXIT_FAILURE
    for status in found:
        if as_json:
            print_json({"state": state_of(status), **asdict(status)})
        else:
            print_line(f"{status.replica}: {state_of(status)}{_progress(status)}")
    return 0


def resume(config: ConfigFile, address: str | None, as_json: bool) -> int:
    """Let halted consumers go on; they begin at the committed offsets, with no dead letter counted.

    Raises:
        ConfigError: There is no such cluster or application.
        DeployError: Not every consumer answered.
    """
    with _connected(config, address) as application:
        resumed = application.resume()
    for status in resumed:
        if as_json:
            print_json({"resumed": status.replica, "halted_by": status.halted_by})
        else:
            print_line(f"{status.replica} goes on; it was halted: {status.halted_by}")
    if not resumed:
        note("no consumer was halted")
    return 0


def state_of(status: Status) -> str:
    """What a consumer is doing, in a word."""
    if status.is_done:
        return "drained"
    if status.halted_by is not None:
        return "halted"
    return "consuming" if status.is_consuming else "joining"


def _progress(status: Status) -> str:
    progress = status.progress
    if progress is None:
        return ""
    text = (
        f", partitions {list(progress.partitions)}, {progress.num_in_flight} segments in flight, "
        f"{progress.num_events} events, {progress.num_dead_letters} dead letters"
    )
    return text if progress.halted_by is None else f"{text}; {progress.halted_by}"


@contextmanager
def _connected(config: ConfigFile, address: str | None) -> Iterator[Application]:
    where = address or "auto"
    join_cluster(where)
    try:
        application = Application(config.application["name"], config.settings.flow.drain_timeout_s)
        running = list(serve.status().applications)
        if application.name not in running:
            raise ConfigError(
                f"the Ray cluster at {where!r} runs no application {application.name!r}, but {running}: "
                "give the config file that was deployed, or another --address"
            )
        yield application
    finally:
        stop_ray()
