"""MCTN (Pham et al. 2019, arXiv 1812.07809): what can be translated into voice and face knows what they know.

    words ─▶ encoder 1 ─▶ E_1 ─▶ decoder 1 ─▶ voice'     voice' ─▶ encoder 1 ─▶ decoder 1 ─▶ words'   (cycle)
                          E_1 ─▶ encoder 2 ─▶ E_2 ─▶ decoder 2 ─▶ face'       and so on, one for each modality
                                              last E ─▶ LSTM ─▶ last state ─▶ linear ─▶ output
    extra loss = TRANSLATION_WEIGHT (|voice' - voice|^2 + |words' - words|^2 + |face' - face|^2), means over elements

Only words are read for the answer; the others teach in training, so a sample without words is answered alike whatever
else it has: that is the structure. Encoders and decoders are LSTMs with attention between them; the cycle runs through
the same weights. Ours: linear maps from each modality's width, a decoder that is fed the encoder's last state at each
step and never the target's earlier steps (else copying the last step would do), the weight, and width 96, which makes
506,042 parameters at inputs 300/74/35 (.50M published). Translation needs no alignment: each side keeps its own steps.

Shape suffixes: B samples, S source steps, T target steps, D features, H states.
"""

import torch
from torch import Tensor, nn

from hctdmg.baselines.peer import PeerOutput
from hctdmg.baselines.recurrent import run_packed
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig
from hctdmg.layers import last_step

TRANSLATION_WEIGHT = 0.1
"""Of each translation beside the task's loss: the paper leaves it to be tuned; most of a target's variance is noise."""


class Translator(nn.Module):
    """A sequence to a sequence: LSTM, LSTM, and attention from the second to the first."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.attention = nn.Linear(hidden, hidden, bias=False)

    def encode(self, x_BSH: Tensor, mask_BS: Tensor) -> Tensor:
        """(B, S, H)."""
        return run_packed(self.encoder, x_BSH, mask_BS)

    def decode(self, encoded_BSH: Tensor, mask_BS: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, T, 2 H): for each target step, the decoder's state and what it attends to."""
        summary_BTH = last_step(encoded_BSH, mask_BS)[:, None].expand(-1, mask_BT.shape[1], -1)
        states_BTH = run_packed(self.decoder, summary_BTH, mask_BT)
        scores_BTS = self.attention(states_BTH) @ encoded_BSH.transpose(1, 2)
        least = torch.finfo(scores_BTS.dtype).min
        weights_BTS = scores_BTS.masked_fill(~mask_BS[:, None], least).softmax(dim=2)
        return torch.cat([states_BTH, weights_BTS @ encoded_BSH], dim=2)


class Mctn(nn.Module):
    """The model, for two or more modalities; the first holds the words."""

    def __init__(self, modalities: tuple[ModalityConfig, ...], num_outputs: int, hidden: int = 96) -> None:
        super().__init__()
        self.names = [modality.name for modality in modalities]
        if len(modalities) < 2:
            raise ValueError(
                f"mctn has {self.names[0]!r} alone: it needs a second modality to translate into"
            )
        words, first, *_ = modalities
        self.inputs = nn.ModuleDict({one.name: nn.Linear(one.width, hidden) for one in (words, first)})
        self.outputs = nn.ModuleDict({one.name: nn.Linear(2 * hidden, one.width) for one in modalities})
        self.translators = nn.ModuleDict({one.name: Translator(hidden) for one in modalities[1:]})
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, num_outputs)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        words, first = self.names[:2]
        mask_BS = batch.masks[words]
        encoded_BSH = self.inputs[words](batch.features[words])
        losses = []
        for name, translator in self.translators.items():
            assert isinstance(translator, Translator)
            encoded_BSH = translator.encode(encoded_BSH, mask_BS)
            decoded_BTH = translator.decode(encoded_BSH, mask_BS, batch.masks[name])
            translated_BTD = self.outputs[name](decoded_BTH)
            losses.append(_error(translated_BTD, name, words, batch))
            if name == first:
                losses.append(_error(self._back(translated_BTD, translator, batch), words, name, batch))
        states_BSH = run_packed(self.lstm, encoded_BSH, mask_BS)
        prediction_BK = self.head(last_step(states_BSH, mask_BS))
        return PeerOutput(prediction_BK, TRANSLATION_WEIGHT * torch.stack(losses).sum())

    def _back(self, translated_BTD: Tensor, translator: Translator, batch: Batch) -> Tensor:
        """(B, S, D): the words again, from their own translation."""
        words, first = self.names[:2]
        mask_BT = batch.masks[first]
        encoded_BTH = translator.encode(self.inputs[first](translated_BTD), mask_BT)
        words_BSD: Tensor = self.outputs[words](translator.decode(encoded_BTH, mask_BT, batch.masks[words]))
        return words_BSD


def _error(translated_BTD: Tensor, target: str, source: str, batch: Batch) -> Tensor:
    """Mean square error over the real steps of the samples that have both; 0 without any."""
    mask_BT1 = (batch.masks[target] & batch.masks[source].any(dim=1, keepdim=True))[..., None]
    # Behind CTC the target is learned itself: it must not be bent towards what is easily told.
    difference_BTD = (translated_BTD - batch.features[target].detach()) * mask_BT1
    num_elements = mask_BT1.sum().clamp(min=1) * translated_BTD.shape[2]
    error: Tensor = difference_BTD.square().sum() / num_elements
    return error
