"""The faults, one function each: it does the damage at once and says whom it hit and how it is healed.

Knows processes, brokers and orders. Does not know when, nor whether what came out is right.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tests.chaos.load import Load
from tests.chaos.moments import Moment, fate_file, order_file, taken_by
from tests.chaos.schedule import Fault, Kind
from tests.chaos.watcher import Topics, Watcher
from tests.chaos.worker import Setup, Worker
from tests.kafka_cluster import KafkaCluster

ORDER_TIMEOUT_S = 90.0
"""A consumer that was just killed needs some seconds before it commits again."""
FATE_TIMEOUT_S = 90.0
"""A zombie's first request may wait for `kafka.request_timeout_s`, 30 s, more than once."""
SYNC_TIMEOUT_S = 120.0
POLL_S = 0.1
RESERVE = 36
"""Segments published at once before a fault, and again when its victims are ready, if none are in flight."""
SHORTEST_FREEZE_S = 5.0

Choice = TypeVar("Choice")


class NotInjectedError(Exception):
    """There was nobody to hit."""


@dataclass
class Scene:
    """What can be hurt.

    Attributes:
        cluster: The brokers.
        topics: Names of the topics.
        setup: How workers are started.
        worker: The one that runs; a blue-green upgrade puts another here.
        retired: Those that a blue-green upgrade has drained.
        load: What is published.
        watcher: What comes out.
        num_consumers: Replicas of the consumer.
        longest_freeze_s: Of a broker.
    """

    cluster: KafkaCluster
    topics: Topics
    setup: Setup
    worker: Worker
    retired: list[Worker]
    load: Load
    watcher: Watcher
    num_consumers: int
    longest_freeze_s: float


@dataclass(frozen=True)
class Healed:
    """How it ended.

    Attributes:
        note: What there is to say.
        is_right: Whether everything was as it must be.
    """

    note: str = ""
    is_right: bool = True


@dataclass(frozen=True)
class Damage:
    """What was done.

    Attributes:
        victim: Whom it hit.
        at_s: When, on the clock that all processes here share.
        heal: Puts right what does not heal by itself, once the worker has recovered.
    """

    victim: str
    at_s: float
    heal: Callable[[], Healed] = Healed


def kill_replica(scene: Scene, fault: Fault, deployment: str) -> Damage:
    """SIGKILL one replica."""
    deadline_s = time.monotonic() + ORDER_TIMEOUT_S
    while not (replicas := scene.worker.replicas(deployment)):
        if time.monotonic() > deadline_s:
            raise NotInjectedError(f"no {deployment} lives")
        time.sleep(POLL_S)
    victim = _choose(replicas, fault.choice)
    at_s = time.time()
    victim.kill()
    return Damage(f"{deployment} {victim.pid}", at_s)


def kill_application(scene: Scene, _: Fault) -> Damage:
    """SIGKILL driver, Ray and all replicas at once; then start the same instance again."""
    at_s = time.time()
    number = scene.worker.kill()
    scene.worker.start()
    scene.worker.wait_until_ready()
    return Damage(f"{number} processes of {scene.worker.instance}", at_s)


def kill_broker(scene: Scene, fault: Fault) -> Damage:
    """SIGKILL the leader of a partition of the output; it starts again once the others have taken over."""
    number = _leader(scene, fault)
    at_s = time.time()
    scene.cluster.kill(number)
    if len(scene.cluster.nodes) == 1:
        scene.cluster.start(number)
        return Damage(f"broker {number}", at_s)

    def restart() -> Healed:
        scene.cluster.start(number)
        return Healed()

    return Damage(f"broker {number}", at_s, restart)


def freeze_broker(scene: Scene, fault: Fault) -> Damage:
    """SIGSTOP the leader of a partition of the output: unreachable, its connections stay open."""
    number = _leader(scene, fault)
    for_s = SHORTEST_FREEZE_S + fault.variant * max(0.0, scene.longest_freeze_s - SHORTEST_FREEZE_S)
    at_s = time.time()
    scene.cluster.freeze(number)
    timer = threading.Timer(for_s, scene.cluster.thaw, [number])
    timer.daemon = True
    timer.start()

    def wait() -> Healed:
        timer.join(for_s + 10)
        return Healed()

    return Damage(f"broker {number} for {for_s:.1f} s", at_s, wait)


def die(scene: Scene, fault: Fault, moment: Moment) -> Damage:
    """Have a consumer killed at an exact moment of its protocol."""
    slot, pid = _order(scene, fault, moment, scene.worker)
    return Damage(f"consumer in slot {slot}, {pid}", time.time())


def zombie(scene: Scene, fault: Fault) -> Damage:
    """Freeze an application in the middle of a publication, another beside it; wake it when that has taken over.

    All of it, as a paused machine would: a frozen caller alone makes Ray's replicas wait for it, everybody's.
    """
    moment: Moment = "freeze-before-send" if fault.variant < 0.5 else "freeze-before-commit"
    old, new = _start_another(scene)
    try:
        slot, pid = _order(scene, fault, moment, old)
    except NotInjectedError:
        old.terminate()
        old.wait()
        raise
    at_s = time.time()
    old.freeze()

    def wake() -> Healed:
        old.thaw()
        file, deadline_s = fate_file(old.orders, pid), time.monotonic() + FATE_TIMEOUT_S
        while not file.is_file() and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        fate = json.loads(file.read_text()) if file.is_file() else None
        old.terminate()
        status = old.wait()
        if fate is None:
            return Healed(f"did not say what became of it in {FATE_TIMEOUT_S:g} s", is_right=False)
        if fate["error"] is None:
            return Healed("was not refused", is_right=False)
        return Healed(
            f"refused: {fate['error']}: {fate['message']}"[:300] + f"; then drained with status {status}"
        )

    return Damage(
        f"{old.instance}, consumer in slot {slot} ({pid}) {moment}; {new.instance} goes on", at_s, wake
    )


def blue_green(scene: Scene, _: Fault) -> Damage:
    """Start another instance of the application beside the first, then have the first drain."""
    old, new = _start_another(scene)
    at_s = time.time()
    old.terminate()

    def wait() -> Healed:
        status = old.wait()
        return Healed(f"{old.instance} drained with exit status {status}", is_right=status == 0)

    return Damage(f"{old.instance} gives way to {new.instance}", at_s, wait)


INJECTORS: dict[Kind, Callable[[Scene, Fault], Damage]] = {
    "kill-consumer": lambda scene, fault: kill_replica(scene, fault, "SegmentConsumer"),
    "kill-extractor": lambda scene, fault: kill_replica(scene, fault, "FeatureExtractor"),
    "kill-model": lambda scene, fault: kill_replica(scene, fault, "HctDmgReplica"),
    "kill-application": kill_application,
    "kill-broker": kill_broker,
    "freeze-broker": freeze_broker,
    "die-before-commit": lambda scene, fault: die(scene, fault, "die-before-commit"),
    "die-after-commit": lambda scene, fault: die(scene, fault, "die-after-commit"),
    "zombie": zombie,
    "blue-green": blue_green,
}


def _choose(candidates: list[Choice], choice: float) -> Choice:
    return candidates[int(choice * len(candidates))]


def _leader(scene: Scene, fault: Fault) -> int:
    """The broker to hit; before that every replica must be in sync, or two faults would add up to data loss."""
    if not scene.cluster.wait_until_in_sync(SYNC_TIMEOUT_S):
        raise NotInjectedError(f"the brokers are not in sync after {SYNC_TIMEOUT_S:g} s")
    leader = scene.cluster.leader(scene.topics.events, int(fault.choice * scene.topics.num_partitions))
    if leader is None:
        raise NotInjectedError("the partition has no leader")
    return leader


def _start_another(scene: Scene) -> tuple[Worker, Worker]:
    """Start another instance beside the worker; it is the scene's worker from then on."""
    old = scene.worker
    new = Worker(scene.setup, f"instance{len(scene.retired) + 2}")
    scene.retired.append(old)  # stopped in the end whatever happens
    scene.worker = new
    new.start()
    new.wait_until_ready()
    scene.load.burst(RESERVE)  # the start took long
    return old, new


def _order(scene: Scene, fault: Fault, moment: Moment, worker: Worker) -> tuple[int, int]:
    """Give an order to a consumer; its slot and process id once it has taken it."""
    slot, folder = int(fault.choice * scene.num_consumers), worker.orders
    for old in folder.glob(f"{moment}@*"):
        old.unlink()
    order_file(folder, moment, slot).touch()
    deadline_s = time.monotonic() + ORDER_TIMEOUT_S
    while (pid := taken_by(folder, moment, slot)) is None:
        if time.monotonic() > deadline_s:
            order_file(folder, moment, slot).unlink(missing_ok=True)
            raise NotInjectedError(f"no consumer in slot {slot} came to {moment} in {ORDER_TIMEOUT_S:g} s")
        time.sleep(0.01)
    return slot, pid
