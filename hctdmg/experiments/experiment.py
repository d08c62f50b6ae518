"""What an experiment is: a question, variants, how one run is measured, how all records are read. Knows no model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup
from hctdmg.training.page import Picture, Table


@dataclass(frozen=True)
class Findings:
    """What records say; the same records say the same.

    Attributes:
        tables: With means, intervals and tests.
        pictures: As many as help.
    """

    tables: Sequence[Table]
    pictures: Sequence[Picture] = ()


def unchanged(setup: Setup) -> Setup:
    """The setup that most experiments have: the common one."""
    return setup


@dataclass(frozen=True)
class Experiment:
    """One question.

    Attributes:
        name: As on the command line.
        question: In a sentence.
        method: What is done, and which test; in a few sentences.
        variants: What is compared.
        setup: From the full or the quick setup to its own.
        measure: Does one run: variant, seed, setup.
        read: Of the records that there are, at least one.
        constants: What else decides a run, for its record; JSON values.
        is_timed: Whether metrics are speeds, which no other machine repeats.
    """

    name: str
    question: str
    method: str
    variants: tuple[str, ...]
    measure: Callable[[str, int, Setup], Metrics]
    read: Callable[[Sequence[Record]], Findings]
    setup: Callable[[Setup], Setup] = unchanged
    constants: Mapping[str, Any] = field(default_factory=dict)
    is_timed: bool = False
