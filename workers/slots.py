"""Which slot of the application a consumer holds: the part of its name in the group that outlives it.

A slot is held for the life of a process, and only by one that lives. When its holder dies, whoever starts next
takes the same slot, hence the same name: the broker then gives it the partitions without a rebalance, and ends
what its predecessor left open. Serve's rank is no such slot: it changes when a replica with a lower one leaves,
and a replica that replaces one that still drains gets another.

A slot's holders form a chain in the key-value store of Ray's head (GCS), each link written only if absent, so
that of several that want it exactly one gets it:

    STEM.slot.0          -> A      A held it first (later: any of the chain, to begin there)
    STEM.slot.0 after A  -> B      A is dead; B holds it
    STEM.slot.0 left by B          B went in order: nobody waits for a successor

Should the store fail (two clusters with one `kafka.instance`), the broker still decides: the later of two with
the same name fences the former, which then publishes nothing more. Knows Ray. Does not know Kafka.
"""

from dataclasses import dataclass

import ray
from ray.experimental import internal_kv

NAMESPACE = b"hctdmg"
"""Of our keys in Ray's store."""
SERVE_NAMESPACE = "serve"
"""Where Serve names its replicas' actors."""


@dataclass(frozen=True)
class Slot:
    """A slot that this process holds.

    Attributes:
        stem: Whose slots these are; every consumer of the application has the same.
        number: Which of them, from 0.
        holder: Name of the actor that holds it.
    """

    stem: str
    number: int
    holder: str

    def leave(self) -> None:
        """Say that its holder left the group: it needs no successor."""
        _put_if_absent(f"{_root(self.stem, self.number)} left by {self.holder}", "")


@dataclass(frozen=True)
class Last:
    """The end of a slot's chain.

    Attributes:
        holder: Its last holder.
        next_key: Where a successor writes its name.
        is_free: Whether that holder is dead.
        is_orphan: Whether that holder is dead and did not leave in order.
    """

    holder: str
    next_key: str
    is_free: bool
    is_orphan: bool


def claim(stem: str) -> Slot:
    """Take a slot for the life of this actor, which has not got one yet.

    That of a holder that died is taken first, since its partitions wait for a successor; else the lowest that
    is free.

    Args:
        stem: Whose slots.
    """
    me = ray.get_runtime_context().get_actor_name()
    if not me or not _is_alive(me):
        raise RuntimeError(
            f"no actor {me!r} in Ray's namespace {SERVE_NAMESPACE!r}: nobody could see it live"
        )
    while True:
        lasts = _lasts(stem)
        orphans = [number for number, last in enumerate(lasts) if last.is_orphan]
        free = [number for number, last in enumerate(lasts) if last.is_free]
        number = next(iter([*orphans, *free, len(lasts)]))
        key = lasts[number].next_key if number < len(lasts) else _root(stem, number)
        if _put_if_absent(key, me):
            _put(_root(stem, number), me)
            return Slot(stem, number, me)


def _lasts(stem: str) -> list[Last]:
    """The end of each chain, slot by slot, until one that nobody ever held."""
    lasts: list[Last] = []
    while (last := _last(stem, len(lasts))) is not None:
        lasts.append(last)
    return lasts


def _last(stem: str, number: int) -> Last | None:
    root = _root(stem, number)
    holder = _get(root)
    if holder is None:
        return None
    while (successor := _get(f"{root} after {holder}")) is not None:
        holder = successor
    is_dead = not _is_alive(holder)
    has_left = _get(f"{root} left by {holder}") is not None
    return Last(holder, f"{root} after {holder}", is_dead, is_dead and not has_left)


def _root(stem: str, number: int) -> str:
    return f"{stem}.slot.{number}"


def _is_alive(actor: str) -> bool:
    """Whether the cluster has this actor; it forgets the name of one that has died."""
    try:
        ray.get_actor(actor, namespace=SERVE_NAMESPACE)
    except ValueError:
        return False
    return True


def _get(key: str) -> str | None:
    value = internal_kv._internal_kv_get(key, namespace=NAMESPACE)
    return None if value is None else value.decode()


def _put(key: str, value: str) -> None:
    internal_kv._internal_kv_put(key, value, namespace=NAMESPACE)


def _put_if_absent(key: str, value: str) -> bool:
    """Write a key that is not there; whether it was not."""
    # The function's answer is whether the key was there already.
    return not internal_kv._internal_kv_put(key, value, overwrite=False, namespace=NAMESPACE)
