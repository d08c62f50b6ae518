"""Splits samples into runs of similar lengths, so that little is computed for padding.

Knows lengths. Does not know the model, nor what a step is.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from hctdmg.batch import Sample

MAX_PADDING = 0.10
"""Greatest share of padding in a run. Padding is every step of a padded tensor that holds nothing, all modalities
together: 1 - steps of the samples / (samples x the longest, summed over the modalities that the run has)."""


@dataclass
class _Run:
    rows: list[int] = field(default_factory=list)
    longest: tuple[int, ...] = ()
    num_steps: int = 0

    def takes(self, row: int, lengths: tuple[int, ...]) -> bool:
        """Take a sample, unless too much would be padding then."""
        longest = tuple(map(max, self.longest, lengths)) if self.rows else lengths
        num_steps = self.num_steps + sum(lengths)
        if (len(self.rows) + 1) * sum(longest) * (1 - MAX_PADDING) > num_steps:
            return False
        self.rows.append(row)
        self.longest, self.num_steps = longest, num_steps
        return True


def split_by_length(samples: Sequence[Sample], by_weight: Sequence[str]) -> list[list[int]]:
    """Which samples to run together, by index: each in one run, and in no run more than MAX_PADDING.

    Samples of one run have the same primary, hence the same roles. Longest first, each goes into the first run that
    stays below the limit with it.

    Args:
        samples: Any number.
        by_weight: The model's modalities, heaviest first: the first of them that a sample has is its primary.
    """
    by_primary: dict[str | None, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for row, sample in enumerate(samples):
        lengths = tuple(len(sample.get(name, ())) for name in by_weight)
        primary = next((name for name, length in zip(by_weight, lengths, strict=True) if length), None)
        by_primary[primary].append((row, lengths))
    return [run.rows for group in by_primary.values() for run in _pack(group)]


def _pack(group: list[tuple[int, tuple[int, ...]]]) -> list[_Run]:
    runs: list[_Run] = []
    for row, lengths in sorted(group, key=lambda one: -sum(one[1])):
        if not any(run.takes(row, lengths) for run in runs):
            runs.append(_Run([row], lengths, sum(lengths)))
    return runs


def padding_share(lengths: Sequence[tuple[int, ...]]) -> float:
    """Share of padding in one run of samples with these lengths of each modality; 0 when there is no step at all."""
    longest = [max(column) for column in zip(*lengths, strict=True)]
    num_computed = len(lengths) * sum(longest)
    return 1 - sum(map(sum, lengths)) / num_computed if num_computed else 0.0
