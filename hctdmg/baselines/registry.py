"""Every model by its name: the peers and HCT-DMG itself, each at its defaults, and their sizes.

A dict, so that a comparison is one loop. Does not know how a model is trained.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from hctdmg.baselines.cia import Cia
from hctdmg.baselines.ctc import Ctc
from hctdmg.baselines.ef_lstm import EfLstm
from hctdmg.baselines.lf_lstm import LfLstm
from hctdmg.baselines.lmf import Lmf
from hctdmg.baselines.lmf_mult import LmfMulT
from hctdmg.baselines.marn import Marn
from hctdmg.baselines.mctn import Mctn
from hctdmg.baselines.mfn import Mfn
from hctdmg.baselines.mult import MulT, MulTConfig
from hctdmg.baselines.raven import Raven
from hctdmg.baselines.rmfn import Rmfn
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.model import HctDmg

Modalities = tuple[ModalityConfig, ...]
NumSteps = Mapping[str, int]
Builder = Callable[[Modalities, int, NumSteps], nn.Module]


@dataclass(frozen=True)
class Size:
    """One row of the table of sizes.

    Attributes:
        name: Of the model.
        num_parameters: At `MEASURED_AT`, with one output.
        published: What the paper or a table that cites it prints, rounded as there; None where nobody does.
        note: Why they differ, or what was chosen so that they do not.
    """

    name: str
    num_parameters: int
    published: int | None
    note: str


def _hct_dmg(modalities: Modalities, num_outputs: int, _: NumSteps) -> nn.Module:
    labels = tuple(f"class {number}" for number in range(num_outputs)) if num_outputs > 1 else ()
    return HctDmg(ModelConfig(modalities, labels))


def _behind_ctc(name: str) -> Builder:
    """The model of that name behind learned alignment."""

    def build_both(modalities: Modalities, num_outputs: int, num_steps: NumSteps) -> nn.Module:
        words = modalities[0].name
        if words not in num_steps:
            raise ValueError(
                f"ctc+{name} needs the most steps of {words!r}; num_steps has {', '.join(num_steps) or 'nothing'}"
            )
        return Ctc(modalities, num_steps[words], _BUILDERS[name](modalities, num_outputs, num_steps))

    return build_both


_BUILDERS: dict[str, Builder] = {
    "hct-dmg": _hct_dmg,
    "ef-lstm": lambda modalities, num_outputs, _: EfLstm(modalities, num_outputs),
    "lf-lstm": lambda modalities, num_outputs, _: LfLstm(modalities, num_outputs),
    "raven": lambda modalities, num_outputs, _: Raven(modalities, num_outputs),
    "mctn": lambda modalities, num_outputs, _: Mctn(modalities, num_outputs),
    "ctc+ef-lstm": _behind_ctc("ef-lstm"),
    "ctc+raven": _behind_ctc("raven"),
    "ctc+mctn": _behind_ctc("mctn"),
    "marn": lambda modalities, num_outputs, _: Marn(modalities, num_outputs),
    "mfn": lambda modalities, num_outputs, _: Mfn(modalities, num_outputs),
    "rmfn": lambda modalities, num_outputs, _: Rmfn(modalities, num_outputs),
    "lmf": lambda modalities, num_outputs, _: Lmf(modalities, num_outputs),
    "cia": lambda modalities, num_outputs, _: Cia(modalities, num_outputs),
    "mult": lambda modalities, num_outputs, _: MulT(MulTConfig(modalities, num_outputs)),
    "lmf-mult": lambda modalities, num_outputs, _: LmfMulT(modalities, num_outputs),
}

NAMES = tuple(_BUILDERS)

CONVOLUTIONAL = ("hct-dmg", "mult", "lmf-mult")
"""Whose first layer is a convolution, and has a kernel size."""

MEASURED_AT = tuple(
    ModalityConfig(name, width, 1) for name, width in (("text", 300), ("audio", 74), ("vision", 35))
)
"""The widths of CMU-MOSEI's features, at which papers state sizes; kernels of 1, as MulT's repository has them."""

MEASURED_STEPS = {"text": 50}
"""Words of a padded sample there: CTC has an output for each."""

_PUBLISHED: dict[str, tuple[int | None, str]] = {
    "hct-dmg": (800_000, "about 0.8M, by its paper; counted with its second output, the scale"),
    "ef-lstm": (560_000, "width 220 chosen to fit"),
    "lf-lstm": (1_220_000, "width 256 chosen to fit"),
    "raven": (1_200_000, "word width 400 chosen to fit"),
    "mctn": (500_000, "width 96 chosen to fit"),
    "ctc+ef-lstm": (None, "ef-lstm and the alignment's two LSTMs of width 32"),
    "ctc+raven": (None, "raven and the alignment's two LSTMs of width 32"),
    "ctc+mctn": (None, "mctn and the alignment's two LSTMs of width 32"),
    "marn": (None, "widths are ours"),
    "mfn": (None, "widths are ours"),
    "rmfn": (None, "widths are ours"),
    "lmf": (None, "widths are ours; it is meant to be small"),
    "cia": (None, "widths are ours"),
    "mult": (1_070_000, "width 30, 5 layers, 5 heads, as its repository: 1,073,731 there too"),
    "lmf-mult": (860_000, "width 44 and rank 8 chosen to fit"),
}


def build(name: str, modalities: Modalities, num_outputs: int, num_steps: NumSteps) -> nn.Module:
    """A model with fresh weights, at its defaults.

    Args:
        name: One of `NAMES`.
        modalities: In order; the first is the clock of models that need aligned steps (the words, usually).
        num_outputs: K. For 1, HCT-DMG alone gives a second column: the log of its scale.
        num_steps: The most steps that any batch has of each modality; only CTC asks, and for the first alone.

    Returns:
        A module from a `Batch` to a `PeerOutput`; "hct-dmg" answers with `hctdmg.model.Output`, which also has
        `prediction_BK`.

    Raises:
        ValueError: There is no such model, or it can't be built for these modalities.
    """
    if name not in _BUILDERS:
        raise ValueError(f"no model {name!r}: there are {', '.join(NAMES)}")
    return _BUILDERS[name](modalities, num_outputs, num_steps)


def size_table() -> tuple[Size, ...]:
    """Every model's size beside what was published."""
    return tuple(
        Size(
            name, sum(one.numel() for one in build(name, MEASURED_AT, 1, MEASURED_STEPS).parameters()), *known
        )
        for name, known in _PUBLISHED.items()
    )
