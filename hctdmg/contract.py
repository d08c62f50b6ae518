"""What features a checkpoint was trained on, so that a worker can refuse to feed it others.

Knows names, versions, widths and rates. Does not know how any feature is computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Alignment = Literal["unaligned", "word"]

PRECOMPUTED = "precomputed"
"""The extractor of features that came ready-made in a file: nothing here can make them of a video."""


@dataclass(frozen=True)
class ModalityContract:
    """One modality's features, as its extractor declares them and as a checkpoint demands them.

    Attributes:
        extractor: The extractor's name, a key of `pipelines.prepare.EXTRACTORS`.
        version: The extractor's version; it changes whenever the same segment would give other numbers.
        width: Features per step.
        rate_hz: Steps per second before alignment; None where a step is a word.
        settings: Whatever else decides the numbers (JSON values).
    """

    extractor: str
    version: str
    width: int
    rate_hz: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FeatureContract:
    """All modalities of a checkpoint, and how they are aligned.

    Attributes:
        modalities: Contract of each modality by name ("text", "audio", "vision", ...).
        alignment: "unaligned" keeps each modality's own steps; "word" averages every modality over each word.
    """

    modalities: Mapping[str, ModalityContract]
    alignment: Alignment

    @property
    def is_precomputed(self) -> bool:
        """Whether a checkpoint with it can only be evaluated, never serve."""
        return any(one.extractor == PRECOMPUTED for one in self.modalities.values())

    def differences(self, other: "FeatureContract") -> list[str]:
        """Name each difference as "where: mine != theirs"; empty when the contracts agree."""
        found = []
        if self.alignment != other.alignment:
            found.append(f"alignment: {self.alignment!r} != {other.alignment!r}")
        for name in sorted({*self.modalities, *other.modalities}):
            mine, theirs = self.modalities.get(name), other.modalities.get(name)
            if mine is None or theirs is None:
                found.append(
                    f"{name}: {'absent' if mine is None else 'present'} != {'absent' if theirs is None else 'present'}"
                )
                continue
            for key in ("extractor", "version", "width", "rate_hz", "settings"):
                left, right = getattr(mine, key), getattr(theirs, key)
                if left != right:
                    found.append(f"{name}.{key}: {left!r} != {right!r}")
        return found


def precomputed_contract(widths: Mapping[str, int], origin: str) -> FeatureContract:
    """The contract of ready-made features.

    Args:
        widths: D of each modality.
        origin: Where they came from, for people.
    """
    modalities = {name: ModalityContract(PRECOMPUTED, origin, width, None) for name, width in widths.items()}
    return FeatureContract(modalities, "unaligned")
