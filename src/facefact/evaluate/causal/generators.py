"""What is measured: anything that makes a picture of a reference picture, a prompt and a seed.

    class MyMethod:
        name = "mine"
        def __call__(self, requests):  # -> one (h, w, 3) uint8 RGB picture for each
            return [my_pipeline(r.references[0], r.prompt, r.seed) for r in requests]

A pipeline of diffusers is wrapped by `Pipeline`, whatever it calls its reference: `ip_adapter_image`, `image`, ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from facefact.evaluate.pictures import Sampling
from facefact.face_adapter import FaceAdapter
from facefact.faces import Detector, face_crop
from facefact.types import FaceCrop, FaceTokens


@dataclass(frozen=True, eq=False)
class Request:
    """references: one or more (h, w, 3) uint8 RGB pictures of one person; none asks for a picture with nobody's face,
    of methods that `paints_nobody` names. The same request gives the same picture."""

    references: tuple[np.ndarray, ...]
    prompt: str
    seed: int


class Generator(Protocol):
    """name: in tables and pictures."""

    @property
    def name(self) -> str: ...

    def __call__(self, requests: Sequence[Request]) -> Sequence[np.ndarray]:
        """For each request an (h, w, 3) uint8 RGB picture. What differs between two results has to come from what
        differs between their requests: the noise is of the seed alone, whoever else is in the batch."""
        ...


@dataclass(frozen=True)
class OneByOne:
    """A generator of a plain function. make: references, prompt, seed -> (h, w, 3) uint8."""

    name: str
    make: Callable[[tuple[np.ndarray, ...], str, int], np.ndarray]

    def __call__(self, requests: Sequence[Request]) -> list[np.ndarray]:
        return [self.make(one.references, one.prompt, one.seed) for one in requests]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A pipeline of diffusers. reference: the argument of its call that takes the reference picture; "" for one that
    reads none. arguments: the others. batch: requests in one call; more than one where it takes a list of pictures."""

    name: str
    pipe: Any
    reference: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    batch: int = 1

    def __call__(self, requests: Sequence[Request]) -> list[np.ndarray]:
        if self.reference:
            return in_batches(requests, self.batch, self._paint)
        once = {(one.prompt, one.seed): one for one in requests}  # nothing else is read
        made = dict(zip(once, in_batches(list(once.values()), self.batch, self._paint), strict=True))
        return [made[one.prompt, one.seed] for one in requests]

    def _paint(self, part: Sequence[Request]) -> list[np.ndarray]:
        given: dict[str, Any] = {}
        if self.reference:
            shown = [Image.fromarray(one.references[0]) for one in part]
            given[self.reference] = shown if self.batch > 1 else shown[0]
        return painted(self.pipe, part, **self.arguments, **given)


@dataclass(kw_only=True)
class Adapted:
    """A FaceAdapter on a pipeline. The layers are on the model only while it paints. crops: of references, by their
    content, to share with others that use the same detector."""

    name: str
    pipe: Any
    adapter: FaceAdapter
    detector: Detector
    sampling: Sampling = field(default_factory=Sampling)
    crops: dict[bytes, FaceCrop] = field(default_factory=dict)

    def __call__(self, requests: Sequence[Request]) -> list[np.ndarray]:
        was = self.adapter.attached
        self.adapter.attach(self.pipe)
        try:
            return in_batches(requests, self.sampling.batch, self._paint)
        finally:
            if was is None:
                self.adapter.detach()

    def _paint(self, part: Sequence[Request]) -> list[np.ndarray]:
        rows = [self._tokens(one) for one in part]
        tokens = FaceTokens(torch.cat([row.face for row in rows]), torch.cat([row.null for row in rows]))
        sampling = self.sampling
        guidance = sampling.guidance_scale > 1 and sampling.face_guidance
        condition = self.adapter.condition(tokens, sampling.scale, guidance, start=sampling.start, end=sampling.end)
        return painted(self.pipe, part, cross_attention_kwargs=condition, **sampled(sampling))

    @torch.no_grad()
    def _tokens(self, one: Request) -> FaceTokens:
        """Of the references; of none, the null face's in the place of the person's."""
        if one.references:
            return self.adapter.encode([self._crop(shown) for shown in one.references])
        null = self.adapter.null_tokens()
        return FaceTokens(null, null)

    def _crop(self, shown: np.ndarray) -> FaceCrop:
        key = shown.tobytes()
        if key not in self.crops:
            self.crops[key] = face_crop(shown, detector=self.detector, warn=False)
        return self.crops[key]


def paints_nobody(generator: Generator) -> bool:
    """Whether it can be in place without a person: what reads no reference, and adapters, which have a null face."""
    return isinstance(generator, Adapted) or (isinstance(generator, Pipeline) and not generator.reference)


def sampled(sampling: Sampling) -> dict[str, Any]:
    """As arguments of a pipeline's call."""
    return {"num_inference_steps": sampling.steps, "guidance_scale": sampling.guidance_scale}


def in_batches(
    requests: Sequence[Request], most: int, paint: Callable[[Sequence[Request]], list[np.ndarray]]
) -> list[np.ndarray]:
    return [one for i in range(0, len(requests), most) for one in paint(requests[i : i + most])]


@torch.no_grad()
def painted(pipe: Any, part: Sequence[Request], **arguments: Any) -> list[np.ndarray]:
    """One call of a pipeline: each request's noise is of its own seed."""
    noise = [torch.Generator("cpu").manual_seed(one.seed) for one in part]
    made = pipe([one.prompt for one in part], generator=noise, output_type="np", **arguments).images
    return list(np.round(255 * made).astype(np.uint8))


def from_picture(base: Any, sampling: Sampling, *, strength: float = 0.6, name: str = "image-to-image") -> Pipeline:
    """The naive way: the reference, covered with noise as far as `strength` of the schedule, is what it starts from;
    of as many denoising steps as the others take. base: a pipeline, whose networks it shares."""
    from diffusers import AutoPipelineForImage2Image

    pipe = AutoPipelineForImage2Image.from_pipe(base)
    pipe.set_progress_bar_config(disable=True)
    steps = {"num_inference_steps": round(sampling.steps / strength), "strength": strength}
    return Pipeline(
        name=name, pipe=pipe, reference="image", arguments=sampled(sampling) | steps, batch=max(2, sampling.batch)
    )
