"""A small reference model of what Apache Kafka promises, for the property test of the protocol.

Input partitions with gaps (as transaction markers leave them), an output log with transactions, committed
offsets with those that are still pending, one consumer group with static members, generations and cooperative
rebalances. No network, no time: whoever drives it says what happens when. Knows nothing of the worker.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from kafka.errors import (
    FencedInstanceIdError,
    IllegalGenerationError,
    ProducerFencedError,
    UnknownMemberIdError,
)

Place = tuple[int, int]
"""Partition and offset on the input topic."""

Message = tuple[str, Place]
"""Output topic, and the input record that the message answers."""

STRIDE = 5
"""Every so many offsets one holds no record."""


@dataclass
class Transaction:
    """What a producer has open.

    Attributes:
        sent: Its messages, in the order of sending.
        offsets: The input offsets to commit with them.
    """

    sent: list[Message] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)


@dataclass
class Group:
    """The consumer group as its coordinator sees it.

    Attributes:
        generation: Of the group; a member that has another is refused.
        members: The member id of each static member.
        assignment: The partitions of each static member in this generation.
        claims: What each member that has joined the next generation says it owns; None while none is coming.
        shift: Turns the next assignment, so that partitions move.
    """

    generation: int = 0
    members: dict[str, int] = field(default_factory=dict)
    assignment: dict[str, frozenset[int]] = field(default_factory=dict)
    claims: dict[str, frozenset[int]] | None = None
    shift: int = 0
    num_ids: int = 0


class Broker:
    """The model.

    Args:
        num_partitions: Of the input topic.
    """

    def __init__(self, num_partitions: int) -> None:
        self.inputs: list[list[int]] = [[] for _ in range(num_partitions)]
        self.committed = [0] * num_partitions
        self.published: list[Message] = []
        self.group = Group()
        self.num_incidents = 0
        self._epochs: dict[str, int] = {}
        self._open: dict[str, Transaction] = {}

    # --- the input topic

    def append(self, partition: int) -> None:
        """A producer adds a record."""
        log = self.inputs[partition]
        offset = log[-1] + 1 if log else 0
        log.append(offset + (offset % STRIDE == STRIDE - 2))

    def fetch(self, partition: int, position: int, max_records: int) -> list[int]:
        """The offsets of the next records."""
        return [offset for offset in self.inputs[partition] if offset >= position][:max_records]

    # --- producers

    def init_producer(self, transactional_id: str) -> int:
        """Fence whoever had this id, end its transaction; the new producer's epoch."""
        self._open.pop(transactional_id, None)
        self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
        return self._epochs[transactional_id]

    def send(self, transactional_id: str | None, epoch: int, topic: str, place: Place) -> None:
        """Take in a message."""
        if transactional_id is None:
            self.published.append((topic, place))
            return
        self._transaction(transactional_id, epoch).sent.append((topic, place))

    def add_offsets(
        self, transactional_id: str, epoch: int, offsets: Mapping[int, int], member: "Member"
    ) -> None:
        """Add offsets to a transaction (KIP-447: the group is asked whether the member is still one)."""
        transaction = self._transaction(transactional_id, epoch)
        self._check(member)
        transaction.offsets.update(offsets)

    def end_transaction(self, transactional_id: str, epoch: int) -> None:
        """Commit: messages and offsets become visible together."""
        transaction = self._transaction(transactional_id, epoch)
        del self._open[transactional_id]
        self.published += transaction.sent
        for partition, offset in transaction.offsets.items():
            self.committed[partition] = offset

    def time_out(self, transactional_id: str) -> None:
        """The coordinator aborts a transaction that is too old, and fences its producer."""
        if transactional_id in self._open:
            self.init_producer(transactional_id)

    @property
    def open_transactions(self) -> list[str]:
        """Whose transactions are open."""
        return sorted(self._open)

    def _transaction(self, transactional_id: str, epoch: int) -> Transaction:
        if self._epochs[transactional_id] != epoch:
            raise ProducerFencedError
        return self._open.setdefault(transactional_id, Transaction())

    # --- offsets and the group

    def commit(self, offsets: Mapping[int, int], member: "Member") -> None:
        """Commit offsets without a transaction."""
        self._check(member)
        for partition, offset in offsets.items():
            self.committed[partition] = offset

    def stable_offset(self, partition: int) -> int | None:
        """The committed offset; None while a transaction that would move it is open (KIP-447)."""
        if any(partition in transaction.offsets for transaction in self._open.values()):
            return None
        return self.committed[partition]

    def register(self, identity: str) -> int:
        """A process joins under a static name; whoever had it before is fenced. Its member id."""
        group = self.group
        is_known = identity in group.members
        group.num_ids += 1
        group.members[identity] = group.num_ids
        if group.claims is not None:
            group.claims.pop(identity, None)
        elif not is_known:
            self.begin_rebalance()
        return group.num_ids

    def begin_rebalance(self) -> None:
        """The group prepares its next generation; commits with the current one are still taken."""
        if self.group.claims is None and self.group.members:
            self.group.claims = {}

    def join(self, identity: str, owned: Collection[int]) -> None:
        """A member joins the next generation, which begins once all have."""
        assert self.group.claims is not None
        self.group.claims[identity] = frozenset(owned)
        self.complete_rebalance(throw_out=False)

    def complete_rebalance(self, throw_out: bool) -> None:
        """Begin the next generation if all have joined, or without those who have not."""
        group = self.group
        if group.claims is None or (not throw_out and set(group.claims) != set(group.members)):
            return
        group.members = {name: group.members[name] for name in group.claims}
        group.assignment = self._assign(group.claims)
        group.claims = None
        group.generation += 1

    def remove(self, identity: str) -> None:
        """A member leaves, or its session has timed out."""
        if self.group.members.pop(identity, None) is None:
            return
        self.group.assignment.pop(identity, None)
        if self.group.claims is not None:
            self.group.claims.pop(identity, None)
        if not self.group.members:
            self.group.claims = None
            return
        self.begin_rebalance()
        self.complete_rebalance(throw_out=False)

    def _assign(self, claims: Mapping[str, frozenset[int]]) -> dict[str, frozenset[int]]:
        """Even shares; a partition that another member still holds goes to nobody yet (cooperative)."""
        names = sorted(claims)
        shares: dict[str, set[int]] = {name: set() for name in names}
        for partition in range(len(self.inputs)):
            wanted = names[(partition + self.group.shift) % len(names)] if names else ""
            holders = [name for name in names if partition in claims[name]]
            if names and holders in ([], [wanted]):
                shares[wanted].add(partition)
        return {name: frozenset(partitions) for name, partitions in shares.items()}

    def _check(self, member: "Member") -> None:
        if member.generation < 0 and not self.group.members:
            return  # taken for a client that needs no group
        current = self.group.members.get(member.identity)
        if current is None:
            self.num_incidents += 1
            raise UnknownMemberIdError
        if current != member.id:
            raise FencedInstanceIdError
        if member.generation != self.group.generation:
            self.num_incidents += 1
            raise IllegalGenerationError


@dataclass(frozen=True)
class Member:
    """What a client says of itself when it commits.

    Attributes:
        identity: Its static name.
        id: Its member id.
        generation: The generation it has joined; negative for none.
    """

    identity: str
    id: int
    generation: int
