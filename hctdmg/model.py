"""HCT-DMG (Wang et al. 2023, arXiv 2305.13583): hierarchical crossmodal transformer with dynamic modality gating.

    features ─▶ Conv1d ─▶ GRU ─▶ x w ─▶ roles: primary, auxiliaries
    stage 1: each auxiliary is enhanced by each other auxiliary
    stage 2: the primary is augmented by each enhanced auxiliary
    weighted concatenation ─▶ self-attention ─▶ last step ─▶ output

Stage weights belong to roles, not to modalities. Where the paper is silent our reading is in `docs/model-card.md`.
Does not know what the features mean, nor what a score is good for.

Shape suffixes: B samples, T steps, D width, N modalities (or roles), K outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.gating import ModalityGate
from hctdmg.layers import Transformer, last_step, masked_mean


@dataclass(frozen=True)
class Output:
    """What the model says of a batch.

    Attributes:
        prediction_BK: Regression: location and log-scale of a Laplace distribution; classes: logits.
        unimodal: (B, K) of each modality on its own, before any fusion; meaningless where it is absent.
        order_BN: Modality index by role, primary first.
        weights_N: Gate weights in the configured order.
        attention: Weights (L, B, H, T, S) by "stage1.i.j" (auxiliary i attends to j), "stage2.i" and "self";
            None unless asked for.
    """

    prediction_BK: Tensor
    unimodal: Mapping[str, Tensor]
    order_BN: Tensor
    weights_N: Tensor
    attention: Mapping[str, Tensor] | None


class Stream(nn.Module):
    """One modality's features to the common width: standardise, Conv1d for local context, GRU for global."""

    input_mean_D: Tensor
    input_scale_D: Tensor

    def __init__(self, modality: ModalityConfig, dim: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("input_mean_D", torch.zeros(modality.width))
        self.register_buffer("input_scale_D", torch.ones(modality.width))
        self.dropout = nn.Dropout(dropout)
        padding = modality.kernel_size // 2
        self.conv = nn.Conv1d(modality.width, dim, modality.kernel_size, padding=padding, bias=False)
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, T, dim), zero where the mask is."""
        mask_BT1 = mask_BT[..., None]
        standard_BTD = (x_BTD - self.input_mean_D).div_(self.input_scale_D).mul_(mask_BT1)
        local_BTD = self.conv(self.dropout(standard_BTD).transpose(1, 2)).transpose(1, 2)
        # The GRU runs left to right and padding is on the right, so no real step sees any.
        global_BTD: Tensor = self.gru(local_BTD)[0]
        return global_BTD * mask_BT1


class OutputHead(nn.Module):
    """Residual two-layer head, as in MulT."""

    def __init__(self, dim: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )
        self.out = nn.Linear(dim, num_outputs)

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, K)."""
        prediction_BK: Tensor = self.out(x_BD + self.residual(x_BD))
        return prediction_BK


class HctDmg(nn.Module):
    """The model. An output depends neither on padding nor on what else is in the batch."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dim, num_auxiliaries = config.dim, len(config.modalities) - 1
        self.streams = nn.ModuleDict(
            {modality.name: Stream(modality, dim, config.input_dropout) for modality in config.modalities}
        )
        self.unimodal_heads = nn.ModuleDict(
            {name: nn.Linear(dim, config.num_outputs) for name in config.names}
        )
        self.gate = ModalityGate(len(config.modalities), dim if config.gate == "sample" else None)
        self.stage1 = nn.ModuleDict(
            {
                f"{target}_{source}": self._transformer(dim, config.num_layers_stage1)
                for target in range(1, num_auxiliaries + 1)
                for source in range(1, num_auxiliaries + 1)
                if source != target
            }
        )
        self.stage2 = nn.ModuleList(
            self._transformer(dim, config.num_layers_stage2) for _ in range(num_auxiliaries)
        )
        self.part_logits_N = nn.Parameter(torch.ones(num_auxiliaries))
        self.self_attention = self._transformer(num_auxiliaries * dim, config.num_layers_self)
        self.head = OutputHead(num_auxiliaries * dim, config.num_outputs, config.output_dropout)

    def _transformer(self, dim: int, num_layers: int) -> Transformer:
        config = self.config
        return Transformer(
            dim, config.num_heads, num_layers, config.attention_dropout, config.residual_dropout
        )

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.no_grad()
    def set_input_statistics(self, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set each modality's mean (D,) and scale (D,): features are standardised inside the model."""
        for name, (mean_D, scale_D) in statistics.items():
            stream = self.streams[name]
            assert isinstance(stream, Stream)
            stream.input_mean_D.copy_(mean_D)
            stream.input_scale_D.copy_(scale_D)

    def forward(
        self, batch: Batch, want_attention: bool = False, order: tuple[int, ...] | None = None
    ) -> Output:
        """Run the model.

        Args:
            batch: Every sample has at least one modality.
            want_attention: Also compute attention weights, for diagnostics.
            order: Modality index by role, where all samples are known to have the same (`gate.order_BN` of what
                they have); then nothing looks at the data, which would make a GPU wait. None looks.
        """
        streams, summaries, unimodal = self._encode(batch)
        masks = [batch.masks[name] for name in self.config.names]
        present_BN = torch.stack([mask_BT.any(dim=1) for mask_BT in masks], dim=1)
        weights_N, order_BN = self.gate(summaries, present_BN)
        scaled = [x_BTD * weight for x_BTD, weight in zip(streams, weights_N.unbind(), strict=True)]
        if order is None:
            by_role, mask_by_role = assign_roles(scaled, masks, order_BN)
        else:
            order_BN = torch.tensor(order).expand(batch.num_samples, -1)
            by_role, mask_by_role = ([parts[index] for index in order] for parts in (scaled, masks))
        attention: dict[str, Tensor] | None = {} if want_attention else None
        auxiliaries = self._enhance(by_role, mask_by_role, attention)
        parts = self._augment(by_role[0], auxiliaries, mask_by_role, attention)
        prediction_BK = self._decide(parts, mask_by_role[0], attention)
        return Output(prediction_BK, unimodal, order_BN, weights_N, attention)

    def _encode(self, batch: Batch) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """Streams (B, T, D), their means (B, D), and what each says on its own (B, K)."""
        streams, summaries, unimodal = [], [], {}
        for name in self.config.names:
            mask_BT = batch.masks[name]
            x_BTD = self.streams[name](batch.features[name], mask_BT)
            streams.append(x_BTD)
            summaries.append(masked_mean(x_BTD, mask_BT))
            unimodal[name] = self.unimodal_heads[name](summaries[-1])
        return streams, summaries, unimodal

    def _enhance(
        self, by_role: list[Tensor], masks: list[Tensor], attention: dict[str, Tensor] | None
    ) -> list[Tensor]:
        """Stage 1. With two modalities there is one auxiliary and nothing to enhance it by."""
        roles = range(1, len(by_role))
        enhanced = []
        for target in roles:
            views = []
            for source in roles:
                if source != target:
                    transformer = self.stage1[f"{target}_{source}"]
                    view_BTD, weights = transformer(
                        by_role[target], by_role[source], masks[source], attention is not None
                    )
                    views.append(view_BTD)
                    if attention is not None:
                        attention[f"stage1.{target}.{source}"] = weights
            enhanced.append(
                torch.stack(views).mean(dim=0) if len(views) > 1 else [*views, by_role[target]][0]
            )
        return enhanced

    def _augment(
        self,
        primary_BTD: Tensor,
        auxiliaries: list[Tensor],
        masks: list[Tensor],
        attention: dict[str, Tensor] | None,
    ) -> list[Tensor]:
        """Stage 2."""
        parts = []
        for index, (transformer, auxiliary_BTD) in enumerate(
            zip(self.stage2, auxiliaries, strict=True), start=1
        ):
            part_BTD, weights = transformer(primary_BTD, auxiliary_BTD, masks[index], attention is not None)
            parts.append(part_BTD)
            if attention is not None:
                attention[f"stage2.{index}"] = weights
        return parts

    def _decide(self, parts: list[Tensor], mask_BT: Tensor, attention: dict[str, Tensor] | None) -> Tensor:
        shares_N = self.part_logits_N.softmax(dim=0)
        concatenation_BTD = torch.cat(
            [x_BTD * share for x_BTD, share in zip(parts, shares_N, strict=True)], dim=-1
        )
        if attention is None:
            last_BD = self.self_attention.last(concatenation_BTD, mask_BT)
        else:
            attended_BTD, attention["self"] = self.self_attention(concatenation_BTD, None, mask_BT, True)
            last_BD = last_step(attended_BTD, mask_BT)
        # The transformers may compute in a lower precision; what leaves the model does not.
        prediction_BK: Tensor = self.head(last_BD.to(self.head.out.weight.dtype))
        return prediction_BK


def assign_roles(
    streams: list[Tensor], masks: list[Tensor], order_BN: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Reorder streams and masks from the configured order to roles, for each sample by its own order.

    Returns:
        Streams (B, T, D) and masks (B, T) by role. When the samples' orders differ, all are padded to the longest.
    """
    # The shorter way when all orders agree is a look at the data, which a graph for export can't take.
    if not torch.compiler.is_exporting() and bool((order_BN == order_BN[:1]).all()):
        indices = order_BN[0].tolist()
        return [streams[index] for index in indices], [masks[index] for index in indices]
    num_steps = max(x_BTD.shape[1] for x_BTD in streams)
    rows_B = torch.arange(order_BN.shape[0], device=order_BN.device)
    stacked_NBTD = torch.stack([nn.functional.pad(x, (0, 0, 0, num_steps - x.shape[1])) for x in streams])
    masks_NBT = torch.stack([nn.functional.pad(mask, (0, num_steps - mask.shape[1])) for mask in masks])
    by_role = [stacked_NBTD[order_B, rows_B] for order_B in order_BN.unbind(dim=1)]
    return by_role, [masks_NBT[order_B, rows_B] for order_B in order_BN.unbind(dim=1)]
