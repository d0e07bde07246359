"""The adapter's training: diffusion loss + FAIR, and what makes identity be learned first (docs/method.md, "Training").

What stands for the person in a step (shuffle, drops, several pictures) is chosen in `conditions`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from facefact.face_adapter import FaceAdapter
from facefact.train.adapter.face_tokens import face_tokens
from facefact.train.adapter.identity import ShownIdentity
from facefact.train.engine.curriculum import value_at
from facefact.train.losses.diffusion import (
    clean_latents,
    diffusion_loss,
    eyes_and_mouth,
    mean_over,
    place_weight,
    snr_weight,
)
from facefact.train.losses.fair import fair, mean_outside, output_leak
from facefact.train.losses.noise import noised, spread_timesteps
from facefact.train.settings import Loss
from facefact.types import UserError


class FactStage(nn.Module):
    """Base model frozen, adapter attached to it.

    shown: whom latents show, for the identity loss; centres: (people, d) unit embeddings of the training people, in the
    order of `batch["person"]`.
    """

    def __init__(
        self,
        adapter: FaceAdapter,
        unet: nn.Module,
        scheduler: Any,
        loss: Loss,
        *,
        text_encoder: nn.Module | None = None,
        shown: ShownIdentity | None = None,
        centres: Tensor | None = None,
    ) -> None:
        super().__init__()
        if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise UserError(
                f"the base model predicts {scheduler.config.prediction_type!r}: only epsilon and v_prediction are "
                "trained for"
            )
        if (shown is None or centres is None) and loss.identity != 0.0:
            raise ValueError("the identity loss needs whom latents show, and the people's centres")
        self.unet = unet.requires_grad_(False)
        self.text_encoder = None if text_encoder is None else text_encoder.requires_grad_(False).eval()
        self.adapter, self.scheduler, self.config = adapter.train(), scheduler, loss
        self.shown = None if shown is None else shown.eval()  # after the adapter, whose encoder it shares
        self.long_attention = False  # over 1024 places and more: see `loop.attention_kernels`
        self.centres: Tensor
        self.register_buffer("centres", torch.zeros(0) if centres is None else centres, persistent=False)
        adapter.attach(unet)

    def train(self, mode: bool = True) -> FactStage:
        """Only the adapter learns; what is frozen stays in the mode that it is used in."""
        super().train(mode)
        for frozen in (self.text_encoder, self.shown):
            if frozen is not None:
                frozen.eval()
        return self

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: as `conditions.batches` makes it. -> scalars: the loss and its terms; for the log, how far the gates
        are open, and the share of samples that had no other picture of the person (`Chosen`)."""
        step, latents, face = int(batch["step"]), batch["latents"], batch["face"]
        timesteps = spread_timesteps(len(latents), latents.device, high_noise=self.config.high_noise)
        sample, target = noised(self.scheduler, latents, timesteps)
        tokens = face_tokens(self.adapter, batch["tokens"], batch["face_dropped"])
        condition = self.adapter.condition(tokens, guidance=False)
        with self.adapter.record() as increments:
            predicted = self.predict(sample, timesteps, batch, condition)
        if "regular" in batch:
            target = self.unchanged_target(target, sample, timesteps, batch)
        weight = snr_weight(self.scheduler, timesteps, self.config.snr_gamma)
        diffusion = diffusion_loss(predicted, target, self.place_weight(batch), weight)
        terms = {"diffusion": diffusion}
        loss = diffusion
        if increments:
            terms["fair"] = fair(increments, face, self.config.increment, squared=self.config.squared)
            loss = loss + value_at(self.config.fair, step) * terms["fair"]
        if "regular" in batch:
            terms["regular"] = mean_over((predicted - target).square().mean((1, 2, 3)), batch["regular"]).detach()
        output_fair, alignment = (value_at(curve, step) for curve in (self.config.output_fair, self.config.alignment))
        if output_fair or alignment:
            with torch.no_grad():
                base = self.predict(sample, timesteps, batch, None)
            shares = output_leak(predicted, base, face, squared=self.config.squared)
            terms["output_fair"] = mean_outside(shares, face)
            loss = loss + output_fair * terms["output_fair"]
        if alignment:
            terms["alignment"] = output_leak(predicted, base, torch.zeros_like(face)).mean()
            loss = loss + alignment * terms["alignment"]
        if strength := value_at(self.config.identity, step):
            believed = clean_latents(self.scheduler, sample, predicted, timesteps)
            terms["identity"] = self.identity_loss(believed, batch, timesteps)
            loss = loss + strength * terms["identity"]
        alone = batch["no_other_picture"].float().mean()
        return {"loss": loss, **terms, "gates": self.gates(), "no_other_picture": alone}

    def unchanged_target(self, target: Tensor, sample: Tensor, timesteps: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """The target (b, c, h, w), but where there is no person in the picture: there it is the base model's own
        prediction, so that the adapter learns to change nothing of it. sample: as the target; timesteps: (b,)."""
        rows = batch["regular"]
        if not rows.any():
            return target
        words: dict[str, Tensor] = {
            name: batch[name][rows] for name in ("ids", "text", "pooled", "time_ids") if name in batch
        }
        with torch.no_grad():
            base = self.predict(sample[rows], timesteps[rows], words, None)
        target = target.clone()
        target[rows] = base
        return target

    def place_weight(self, batch: dict[str, Tensor]) -> Tensor:
        """(b, h, w): see `losses.diffusion.place_weight`."""
        face = batch["face"]
        factor = float(batch["time_ids"][0, 4]) / face.shape[1]  # pixels of the picture's side over cells
        features = eyes_and_mouth(batch["head_to_picture"], (face.shape[1], face.shape[2]), factor)
        return place_weight(
            face,
            features,
            batch["light"],
            face_weight=self.config.face_weight,
            feature_weight=self.config.feature_weight,
            weber=self.config.weber,
        )

    def predict(
        self, sample: Tensor, timesteps: Tensor, batch: dict[str, Tensor], condition: dict[str, Any] | None
    ) -> Tensor:
        """The U-Net's answer, in fp32: (b, c, h, w), as `sample` is. timesteps: (b,). condition: its
        `cross_attention_kwargs`; None for the base model alone."""
        weight = next(self.unet.parameters())
        if self.text_encoder is not None:
            with torch.no_grad():
                text = self.text_encoder(batch["ids"])[0]
        else:
            text = batch["text"]
        pooled, time_ids = batch.get("pooled"), batch.get("time_ids")
        added = None if pooled is None else {"text_embeds": pooled.to(weight.dtype), "time_ids": time_ids}
        return self.unet(
            sample.to(weight.dtype),
            timesteps,
            text.to(weight.dtype),
            cross_attention_kwargs=condition,
            added_cond_kwargs=added,
        ).sample.float()

    def identity_loss(self, believed: Tensor, batch: dict[str, Tensor], timesteps: Tensor) -> Tensor:
        """1 - cosine between the person whom the believed clean latents show and the one meant; (b, c, h, w) -> ().

        Of some of the pictures (`loss.identity_pictures`, others each step) of those below `loss.identity_below`;
        dropped faces count nothing. At high noise what is believed decides who appears, and has no features to judge
        by. timesteps: (b,).
        """
        assert self.shown is not None
        mixed = torch.randperm(len(believed), device=believed.device)
        clear = timesteps[mixed] < self.config.identity_below * self.scheduler.config.num_train_timesteps
        if "regular" in batch:
            clear &= ~batch["regular"][mixed]
        some = mixed[clear][: self.config.identity_pictures]
        if not len(some):
            return believed.new_zeros(())
        seen = self.shown(believed[some], batch["head_to_picture"][some], batch["head_mask"][some])
        apart = 1 - (seen * self.centres[batch["person"][some]]).sum(-1)
        return mean_over(apart, ~batch["face_dropped"][some])

    def gate_parameters(self) -> list[nn.Parameter]:
        return self.adapter.gates()

    def gates(self) -> Tensor:
        """Mean opening of the gates, |tanh(alpha)|, for the log: a number; 1 where there are none."""
        found = [alpha.detach().float().tanh().abs() for alpha in self.gate_parameters()]
        return torch.stack(found).mean() if found else torch.ones(())
