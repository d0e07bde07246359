"""The rest of `facefact bench unet`: how long a photo takes to become face tokens, and how many portraits a second the
embedded model makes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.adapter import fast_kernels
from facefact.bench.random_models import random_model
from facefact.bench.timing import interleaved, ratio, seconds_of, spread
from facefact.demo import bundle_path
from facefact.encoder import Resampler, ResamplerConfig, TransFace, TransFaceConfig
from facefact.face_adapter import FaceAdapter
from facefact.faces import face_crop
from facefact.faces.avatar import AvatarDetector
from facefact.world import HELD_OUT, caption, look, person, render

PHOTO = 512  # px
PHOTOS = 5  # of one person, at most
BATCHES = (1, 4)  # portraits
STEPS, GUIDANCE = 12, 3.0
MODES = ("base", "base_fast", "exact", "local")

Progress = Callable[[], Any] | None


@torch.no_grad()
def bench_encode(device: torch.device, *, rounds: int = 10, progress: Progress = None) -> dict[str, Any]:
    """Seconds by part, for one photo or several of one person: finding and aligning the face (the embedded detector on
    a drawn avatar, on the CPU), face encoder and resampler (published sizes, random weights, float32). And their sum
    for one photo."""
    photo = render(person(HELD_OUT), look(HELD_OUT), size=PHOTO).image
    detector = AvatarDetector.from_pretrained(Path(bundle_path()) / "face_detector")
    new = partial(random_model, device=device, dtype=torch.float32)
    encoder, resampler = new(lambda: TransFace(TransFaceConfig())), new(lambda: Resampler(ResamplerConfig()))
    config = encoder.config
    faces = torch.randn(PHOTOS, 3, config.image_size, config.image_size).to(device)
    tokens = torch.randn(PHOTOS, config.tokens, config.width).to(device)
    works: dict[str, Callable[[], Any]] = {"detect and align": partial(face_crop, photo, detector=detector)}
    for n in (1, PHOTOS):
        plural = f", {n} photos" if n > 1 else ""
        works[f"face encoder{plural}"] = partial(encoder, faces[:n])
        works[f"resampler{plural}"] = partial(resampler, tokens[:n])
    times = interleaved(works, rounds=rounds, device=device, progress=progress)
    one = sum(times[name] for name in ("detect and align", "face encoder", "resampler"))
    assert isinstance(one, np.ndarray)
    return {
        "seconds": {name: seconds_of(rows) for name, rows in times.items()},
        "seconds_per_photo": seconds_of(one),
        "photo_size": PHOTO,
        "dtype": "float32",
    }


def bench_portraits(device: torch.device, *, rounds: int = 3, progress: Progress = None) -> dict[str, Any]:
    """Portraits a second of the embedded model by mode and batch, with text encoder, sampling and decoding, and ratios
    of their seconds to the base's. One person, whose face was encoded before."""
    studio = EmbeddedModel(device)
    works = {f"{mode}, batch {batch}": partial(studio.paint, mode, batch) for batch in BATCHES for mode in MODES}
    times = interleaved(works, rounds=rounds, device=device, progress=progress, around=studio.prepared)
    found = {}
    for name, rows in times.items():
        batch = name.split()[-1]
        found[name] = {
            "portraits_per_second": spread(int(batch) / rows[:, 0]),
            "portraits_per_cpu_second": spread(int(batch) / rows[:, 1]),
            "ratio": ratio(rows, times[f"base, batch {batch}"]),
        }
    return {"modes": found, "n": rounds, "dtype": "float32", "steps": STEPS, "guidance_scale": GUIDANCE}


class EmbeddedModel:
    """The embedded model, and one person for it."""

    def __init__(self, device: torch.device) -> None:
        from diffusers import StableDiffusionPipeline

        bundle = Path(bundle_path())
        self.pipe = StableDiffusionPipeline.from_pretrained(bundle, local_files_only=True).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.adapter = FaceAdapter.from_pretrained(bundle / "adapter").to(device)
        photo = render(person(HELD_OUT), look(HELD_OUT)).image
        self.tokens = self.adapter.encode(photo, detector=AvatarDetector.from_pretrained(bundle / "face_detector"))

    @contextlib.contextmanager
    def prepared(self, name: str) -> Iterator[None]:
        """Inside, the pipeline is ready for the mode that the name begins with."""
        with contextlib.ExitStack() as off:
            if not name.startswith("base,"):
                fast_kernels(self.pipe)
                off.callback(fast_kernels, self.pipe, enable=False)
            if not name.startswith("base"):
                self.adapter.attach(self.pipe)
                off.callback(self.adapter.detach)
            yield

    def paint(self, mode: str, batch: int) -> np.ndarray:
        """One batch of portraits, (batch, h, w, 3) in [0, 1]."""
        face = None if mode.startswith("base") else self.adapter.condition(self.tokens, local=mode == "local")
        return self.pipe(
            [caption(look(HELD_OUT + i)) for i in range(batch)],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(i) for i in range(batch)],
            output_type="np",
            cross_attention_kwargs=face,
        ).images
