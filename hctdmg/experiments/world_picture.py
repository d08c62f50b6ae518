"""The picture of the synthetic world: one sample as each modality shows it, and again with one of them turned round.

Knows the world and matplotlib.
"""

import numpy as np
from matplotlib.figure import Figure

from hctdmg.data.synthetic import World, draw, render
from hctdmg.training.page import Picture, svg_of

NUM_TRIES = 200


def world_picture(world: World, flipped: str, seed: int = 0) -> Picture:
    """Features of a strongly positive sample by modality, left as it is, right with one modality's polarity flipped.

    Args:
        world: Whose.
        flipped: The modality that is turned round on the right.
        seed: Of the samples among which the longest strong one is taken.
    """
    draws = draw(world, NUM_TRIES, seed)
    plain, turned = render(world, draws).split, render(world, draws, flipped=flipped).split
    agrees_N = np.ptp([plain.unimodal[view.name] for view in world.views], axis=0) == 0
    row = int(np.argmax(np.where(agrees_N & (draws.affect_N > 2), draws.duration_N, 0)))
    figure = Figure((9, 1.9 * len(world.views)), layout="constrained")
    panels = figure.subplots(len(world.views), 2, squeeze=False, sharex=True)
    for place, view in enumerate(world.views):
        for side, split in enumerate((plain, turned)):
            num_steps = int(split.masks[view.name][row].sum())
            x_TD = split.features[view.name][row, :num_steps]
            axes = panels[place][side]
            axes.imshow(
                x_TD.T, aspect="auto", cmap="RdBu_r", vmin=-2, vmax=2, interpolation="nearest",
                extent=(0, num_steps / view.rate_hz, view.width, 0),
            )  # fmt: skip
            sign = "positive" if split.unimodal[view.name][row] > 0 else "negative"
            axes.set_title(
                f"{view.name} shows {sign}: {view.rate_hz:g} steps/s, delay {view.delay_s:g} s", fontsize=9
            )
            axes.set_ylabel("feature", fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel("seconds")
    return Picture(
        svg_of(figure),
        f"One sample of sentiment {draws.affect_N[row]:+.1f}, and the same with {flipped} flipped.",
    )
