"""One run: starts everything, lets the schedule happen while segments are in flight, waits, reads back, judges.

Every wait is bounded, and what was started is stopped however it ends. Knows the order of things; each thing is
its own file.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.faults import INJECTORS, RESERVE, Damage, Healed, NotInjectedError, Scene
from tests.chaos.judge import judge
from tests.chaos.load import Load, Plan, make_plan
from tests.chaos.report import Injected, Report
from tests.chaos.schedule import KINDS, Fault, Kind, calm_until, make_schedule
from tests.chaos.watcher import Topics, Watcher, read_answers, read_published
from tests.chaos.worker import Setup, Worker
from tests.checkpoints import save_random_checkpoint
from tests.kafka_cluster import running_cluster

LEAD = 400
"""Segments published ahead of the next fault: several times what the consumers hold."""
RECOVERY_TIMEOUT_S = 240.0
STALL_TIMEOUT_S = 240.0
"""Longest silence at the end before the rest is called lost; above every time limit of the worker's."""
POLL_S = 0.05

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """The command's arguments.

    Attributes:
        num_faults: How many faults.
        num_segments: How many segments.
        seed: Of schedule and poison.
        kinds: Of faults to choose from.
        delivery: "exactly_once" or "at_least_once".
        num_brokers: 1 or 3.
        num_partitions: Of input and output.
        num_consumers: Replicas of the consumer.
        longest_freeze_s: Of a broker that is unreachable.
        time_limit_s: After this no further fault is injected and the rest is waited for.
        settings: Overrides of the shipped settings, by "GROUP.KEY".
    """

    num_faults: int = 100
    num_segments: int = 20_000
    seed: int = 1
    kinds: tuple[Kind, ...] = KINDS
    delivery: str = "exactly_once"
    num_brokers: int = 3
    num_partitions: int = 6
    num_consumers: int = 2
    longest_freeze_s: float = 60.0
    time_limit_s: float = 3 * 3600.0
    settings: Mapping[str, Any] = field(default_factory=dict)


def run_chaos(options: Options, tell: Tell, keep_logs: Path | None = None) -> Report:
    """Run it.

    Args:
        options: What.
        tell: Takes lines of progress.
        keep_logs: Where the workers' logs go; None drops them.

    Returns:
        What was found; complete, or with the reason why not among its problems.
    """
    begun_s = time.time()
    schedule = make_schedule(options.seed, options.num_faults, options.num_segments, options.kinds)
    plan = make_plan(options.seed, options.num_segments, options.num_partitions)
    report = Report(asdict(options), schedule, num_planted=len(plan.poison))
    # Short: the paths of Ray's sockets have a limit.
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    try:
        with running_cluster(options.num_brokers) as cluster:
            tell(f"{options.num_brokers} brokers at {cluster.bootstrap_servers}")
            topics = Topics(cluster.bootstrap_servers, "segments", "events", "dlq", options.num_partitions)
            cluster.create_topics(
                {"segments": options.num_partitions, "events": options.num_partitions, "dlq": 1}
            )
            setup = Setup(folder, _settings(options, topics, folder), _replicas(options))
            setup.write()
            watcher = Watcher(topics)
            load = Load(plan, topics.servers, topics.segments, watcher.num_answered)
            scene = Scene(
                cluster, topics, setup, Worker(setup, "instance1"), [], load, watcher, options.num_consumers,
                options.longest_freeze_s,
            )  # fmt: skip
            try:
                _storm(scene, plan, options, report, begun_s, tell)
            finally:
                load.stop()
                watcher.stop()
                for worker in (scene.worker, *scene.retired):
                    worker.kill()
                report.problems += [problem for problem in (load.error, watcher.error) if problem]
                for number, node in cluster.nodes.items():
                    cluster.thaw(number) if node.is_alive else cluster.start(number)
                _read_back(topics, plan, report, tell)
    except Exception as error:  # noqa: BLE001 - told in the report, which is written whatever happens
        report.problems.append(f"{type(error).__name__}: {error}")
    finally:
        if keep_logs is not None:
            keep_logs.mkdir(parents=True, exist_ok=True)
            for log in folder.glob("*.log"):
                shutil.copy(log, keep_logs / log.name)
        shutil.rmtree(folder, ignore_errors=True)
        report.duration_s = time.time() - begun_s
    return report


def _storm(scene: Scene, plan: Plan, options: Options, report: Report, begun_s: float, tell: Tell) -> None:
    """Start the worker, inject every fault, wait until all is answered, stop the worker."""
    moments = [fault.after_answers for fault in report.schedule]
    scene.load.allow((moments or [plan.num_segments])[0] + LEAD, 2 * RESERVE * len(moments))
    scene.worker.start()
    scene.worker.wait_until_ready()
    tell("the worker consumes")
    for fault in report.schedule:
        reached = _wait_for_answers(scene, fault.after_answers)
        if fault.number == 0:
            report.calm_per_s = _calm_rate(scene, options.num_segments)
            tell(f"without faults: {report.calm_per_s or 0:.0f} answers a second")
        if not reached:
            report.problems.append(f"no answer for {STALL_TIMEOUT_S:g} s before fault {fault.number}")
            break
        if time.time() - begun_s > options.time_limit_s:
            report.problems.append(f"the time limit of {options.time_limit_s:g} s came first")
            break
        left = moments[fault.number + 1 :]
        scene.load.allow((left or [fault.after_answers])[0] + LEAD, 2 * RESERVE * (len(left) + 1))
        injected = _inject(scene, fault, begun_s)
        report.injected.append(injected)
        recovery = "never" if injected.recovery_s is None else f"{injected.recovery_s:.1f} s"
        tell(
            f"{fault.number + 1}/{len(moments)} {fault.kind} ({injected.victim}) after {injected.num_answers} answers,"
            f" {injected.in_flight} in flight: recovered in {recovery} {injected.note}"
        )
    scene.load.allow(plan.num_segments, 0)
    if not _wait_for_answers(scene, plan.num_segments):
        report.problems.append(f"no answer for {STALL_TIMEOUT_S:g} s, {scene.load.in_flight} are missing")
    if report.schedule:
        report.stormy_per_s = _rate(scene, report.schedule[0].after_answers, len(scene.watcher.sights))
    tell(f"{scene.watcher.num_answers} of {plan.num_segments} answered; draining")
    scene.worker.terminate()
    status = scene.worker.wait()
    if status != 0:
        report.problems.append(f"the worker drained with exit status {status}")


def _inject(scene: Scene, fault: Fault, begun_s: float) -> Injected:
    """Wait until segments are in flight, inject, wait for recovery, heal."""
    deadline_s = time.monotonic() + STALL_TIMEOUT_S
    if scene.load.in_flight < scene.topics.num_partitions:
        scene.load.burst(RESERVE)
    while scene.load.in_flight < scene.topics.num_partitions and time.monotonic() < deadline_s:
        if scene.load.is_over:
            break
        time.sleep(POLL_S)
    num_answers, in_flight = scene.watcher.num_answers, scene.load.in_flight
    try:
        if in_flight == 0:
            raise NotInjectedError("nothing was in flight: more segments are needed")
        damage = INJECTORS[fault.kind](scene, fault)
    except NotInjectedError as error:
        return Injected(fault, time.time() - begun_s, num_answers, in_flight, "", None, str(error), False)
    recovery_s = _wait_for_recovery(scene, damage)
    healed = damage.heal()
    if recovery_s is None:
        why = "nothing was left to answer: more segments are needed"
        if not scene.load.is_over:
            why = f"no recovery within {RECOVERY_TIMEOUT_S:g} s"
        healed = Healed(f"{why}; {healed.note}", is_right=False)
    return Injected(
        fault,
        damage.at_s - begun_s,
        num_answers,
        in_flight,
        damage.victim,
        recovery_s,
        healed.note,
        healed.is_right,
    )


def _wait_for_recovery(scene: Scene, damage: Damage) -> float | None:
    deadline_s = time.monotonic() + RECOVERY_TIMEOUT_S
    while (recovered_s := scene.watcher.recovered_s(damage.at_s, scene.load.waiting)) is None:
        if time.monotonic() > deadline_s or scene.load.is_over:
            return None
        time.sleep(POLL_S)
    return recovered_s - damage.at_s


def _wait_for_answers(scene: Scene, number: int) -> bool:
    """Wait for so many answers, or for all but what is kept back for the faults to come.

    Returns:
        False when none came for `STALL_TIMEOUT_S`.
    """
    seen, since_s = scene.watcher.num_answers, time.monotonic()
    while (now := scene.watcher.num_answers) < number and not scene.load.is_held:
        if now > seen:
            seen, since_s = now, time.monotonic()
        if time.monotonic() - since_s > STALL_TIMEOUT_S:
            return False
        time.sleep(POLL_S)
    return True


def _read_back(topics: Topics, plan: Plan, report: Report, tell: Tell) -> None:
    published = read_published(topics)
    events = read_answers(topics, topics.events)
    dead_letters = read_answers(topics, topics.dead_letters)
    tell(f"read back: {len(published)} segments, {len(events)} events, {len(dead_letters)} dead letters")
    report.verdict = judge(published, plan.poison_names, events, dead_letters)
    if len(published) != plan.num_segments:
        report.problems.append(f"{len(published)} of {plan.num_segments} segments were published")


def _calm_rate(scene: Scene, num_segments: int) -> float | None:
    """From a third of the calm stretch on: the first batches load what is loaded late."""
    until = calm_until(num_segments)
    return _rate(scene, until // 3, until)


def _rate(scene: Scene, first: int, last: int) -> float | None:
    """Answers a second between two counts of answers."""
    sights = scene.watcher.sights[first:last]
    if len(sights) < 2 or sights[-1].seen_s <= sights[0].seen_s:
        return None
    return (len(sights) - 1) / (sights[-1].seen_s - sights[0].seen_s)


def _settings(options: Options, topics: Topics, folder: Path) -> dict[str, Any]:
    return {
        "kafka.bootstrap_servers": topics.servers,
        "kafka.input_topic": topics.segments,
        "kafka.output_topic": topics.events,
        "kafka.dead_letter_topic": topics.dead_letters,
        "kafka.group_id": "chaos",
        "kafka.delivery": options.delivery,
        "model.checkpoint": str(save_random_checkpoint(folder / "checkpoint")),
        **options.settings,
    }


def _replicas(options: Options) -> dict[str, int]:
    return {"SegmentConsumer": options.num_consumers, "FeatureExtractor": 2, "HctDmgReplica": 1}
