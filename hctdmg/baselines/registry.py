"""Every model by its name: the peers and HCT-DMG itself, each at its defaults, and their sizes.

A dict, so that a comparison is one loop. Does not know how a model is trained.
"""

from collections.abc import Callable, Mapping

from torch import nn

from hctdmg.baselines.ef_lstm import EfLstm
from hctdmg.baselines.lf_lstm import LfLstm
from hctdmg.baselines.mult import MulT, MulTConfig
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.model import HctDmg

Modalities = tuple[ModalityConfig, ...]
NumSteps = Mapping[str, int]


def _hct_dmg(modalities: Modalities, num_outputs: int, _: NumSteps) -> nn.Module:
    labels = tuple(f"class {number}" for number in range(num_outputs)) if num_outputs > 1 else ()
    return HctDmg(ModelConfig(modalities, labels))


_BUILDERS: dict[str, Callable[[Modalities, int, NumSteps], nn.Module]] = {
    "hct-dmg": _hct_dmg,
    "mult": lambda modalities, num_outputs, _: MulT(MulTConfig(modalities, num_outputs)),
    "ef-lstm": lambda modalities, num_outputs, _: EfLstm(modalities, num_outputs),
    "lf-lstm": lambda modalities, num_outputs, _: LfLstm(modalities, num_outputs),
}

NAMES = tuple(_BUILDERS)


def build(name: str, modalities: Modalities, num_outputs: int, num_steps: NumSteps) -> nn.Module:
    """A model with fresh weights, at its defaults.

    Args:
        name: One of `NAMES`.
        modalities: In order; the first is the clock of models that need aligned steps (the words, usually).
        num_outputs: K. For 1, HCT-DMG alone gives a second column: the log of its scale.
        num_steps: The most steps that any batch has of each modality.

    Returns:
        A module from a `Batch` to a `PeerOutput`; "hct-dmg" answers with `hctdmg.model.Output`, which also has
        `prediction_BK`.

    Raises:
        ValueError: There is no such model, or it can't be built for these modalities.
    """
    if name not in _BUILDERS:
        raise ValueError(f"no model {name!r}: there are {', '.join(NAMES)}")
    return _BUILDERS[name](modalities, num_outputs, num_steps)
