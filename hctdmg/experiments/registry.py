"""Every experiment by its name, in the order in which they are worth running. Knows no more of them."""

from hctdmg.experiments.attention_distortion import ATTENTION_DISTORTION
from hctdmg.experiments.compare import COMPARE
from hctdmg.experiments.experiment import Experiment
from hctdmg.experiments.freeze import FREEZE
from hctdmg.experiments.hierarchy import HIERARCHY
from hctdmg.experiments.incongruity import INCONGRUITY
from hctdmg.experiments.layers import LAYERS
from hctdmg.experiments.modalities import MODALITIES
from hctdmg.experiments.noise import NOISE
from hctdmg.experiments.recovery import RECOVERY

EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in (
        ATTENTION_DISTORTION, RECOVERY, HIERARCHY, INCONGRUITY, NOISE, FREEZE, COMPARE, LAYERS, MODALITIES,
    )
}  # fmt: skip
