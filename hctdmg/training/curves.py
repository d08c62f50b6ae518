"""The picture of a run: losses and gate weights by epoch. Knows a history. Does not know what is learned."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from hctdmg.training.fit_state import FitEpoch, FitResult
from hctdmg.training.page import svg_of


def curves(result: FitResult) -> bytes:
    """An SVG of the training and validation loss, and of the gate's weights where there is a gate."""
    history = result.history
    epochs = [one.epoch for one in history]
    has_gate = history[0].gate_weights is not None
    figure = Figure((10 if has_gate else 6, 3.6), layout="constrained")
    panels = figure.subplots(1, 2 if has_gate else 1, squeeze=False)[0]
    panels[0].plot(epochs, [one.loss for one in history], label="training, all terms")
    panels[0].plot(epochs, [one.valid_loss for one in history], label="validation, fused head")
    panels[0].axvline(result.best.epoch, color="0.6", linestyle=":", label=f"best: {result.best.epoch}")
    panels[0].set(xlabel="epoch", ylabel="loss", yscale="log" if _is_positive(history) else "linear")
    panels[0].legend()
    if has_gate:
        for name in history[0].gate_weights or {}:
            panels[1].plot(epochs, [(one.gate_weights or {})[name] for one in history], label=name)
        if result.gate_frozen_after is not None:
            panels[1].axvline(result.gate_frozen_after, color="0.6", linestyle=":", label="frozen")
        panels[1].set(xlabel="epoch", ylabel="gate weight")
        panels[1].legend()
    return svg_of(figure)


def _is_positive(history: Sequence[FitEpoch]) -> bool:
    return all(one.loss > 0 and one.valid_loss > 0 for one in history)
