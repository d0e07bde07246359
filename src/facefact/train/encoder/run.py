"""The training of a face encoder of its own: `recipe: encoder`, for instance configs/encoder.yaml."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import PartialState

from facefact.encoder import TransFace
from facefact.encoder.files import save_transface
from facefact.train.encoder.config import EncoderTraining
from facefact.train.encoder.recogniser import RecogniserStage, pair_batches
from facefact.train.engine.loop import fit
from facefact.train.material.world import aligned_head


def train_encoder(config: EncoderTraining, out: Path) -> Path:
    """Train in the folder `out`, or go on where the same call stopped; returns the directory of the encoder, which
    `facefact eval encoder` reads and an adapter's training takes as its `adapter.encoder`.

    UserError: settings that make no sense, or a folder that other settings were used in.
    """
    config.check()
    plan = config.schedule
    process = PartialState(cpu=not torch.cuda.is_available())
    torch.manual_seed(plan.seed)
    stage = RecogniserStage(TransFace(config.network), config.loss)
    batches = pair_batches(plan.seed, plan.batch // 2, aligned_head, process.process_index, config.data)
    fit(stage, batches, plan, out)
    if process.is_main_process:
        save_transface(stage.recogniser, out / "encoder")
    process.wait_for_everyone()
    return out / "encoder"
