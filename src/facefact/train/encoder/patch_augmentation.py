"""What TransFace's training does to its pictures and its loss: DPAP and EHSM.

Dan et al., "TransFace: Calibrating Transformer Training for Face Recognition from a Data-Centric Perspective", ICCV
2023. After the paper's description; where the paper leaves a number open, its published settings decide, and each
docstring says so. Pure functions of tensors: the network's gates and tokens come in as arguments.

DPAP, dominant patch amplitude perturbation: the patches that count most for recognition keep their phase spectrum (the
structure of the face) and get part of the amplitude spectrum (its texture and light) of some other patch.
EHSM, entropy-guided hard sample mining: a face whose local tokens carry little information is hard, and counts more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from facefact.types import UserError

# Half the logarithm of 2 pi e: the differential entropy of a Gaussian with standard deviation 1, in nats.
UNIT_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)
LEAST_SPREAD = 1e-4  # of a token: one without any spread would have an entropy of minus infinity


@dataclass(frozen=True)
class PatchAugmentation:
    """DPAP. probability: chance of a picture to be perturbed; 0: off (published: every picture). top_share: of a
    picture's patches, how many are dominant (published: 7 of 144). mix: the most that a patch takes of the other
    amplitude; each patch draws its own share, uniform in [0, mix] (published: 1)."""

    probability: float = 0.0
    top_share: float = 7 / 144
    mix: float = 1.0

    def check(self, where: str) -> None:
        """UserError when a value makes no sense."""
        for name in ("probability", "top_share", "mix"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"setting {where}.{name} must lie in 0 to 1, not {getattr(self, name)}")


# DPAP


def to_patches(pixels: Tensor, side: int) -> Tensor:
    """(n, c, h, w) -> (n, patches, c, side, side), row by row from the upper left; what is left over is not in it."""
    n, c, height, width = pixels.shape
    rows, columns = height // side, width // side
    tiled = pixels[..., : rows * side, : columns * side].reshape(n, c, rows, side, columns, side)
    return tiled.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, c, side, side)


def from_patches(patches: Tensor, pixels: Tensor) -> Tensor:
    """Undo `to_patches`: (n, patches, c, side, side) laid over the (n, c, h, w) that they were cut from."""
    side = patches.shape[-1]
    n, c, height, width = pixels.shape
    rows, columns = height // side, width // side
    tiled = patches.reshape(n, rows, columns, c, side, side).permute(0, 3, 1, 4, 2, 5)
    whole = pixels.clone()
    whole[..., : rows * side, : columns * side] = tiled.reshape(n, c, rows * side, columns * side)
    return whole


def dominant_patches(gates: Tensor, top_share: float) -> Tensor:
    """(n, patches) importance -> (n, k) indices of the k most important ones; k is `top_share` of them, at least 1."""
    count = max(1, round(top_share * gates.shape[1]))
    return gates.topk(count, dim=1).indices


def amplitude_and_phase(patches: Tensor) -> tuple[Tensor, Tensor]:
    """(..., side, side) -> the Fourier spectrum of the last two dimensions, of the same shape: amplitude (>= 0), and
    phase in radians."""
    spectrum = torch.fft.fft2(patches)
    return spectrum.abs(), spectrum.angle()


def mix_amplitudes(own: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """A^ = (1 - lambda) A(own) + lambda A(other), lambda = share; amplitudes (..., side, side)."""
    return torch.lerp(own, other, share)


def from_amplitude_and_phase(amplitude: Tensor, phase: Tensor) -> Tensor:
    """(..., side, side): the patch with that spectrum. Amplitudes of real patches are even and phases odd, and stay so
    when amplitudes are mixed: the result is real."""
    return torch.fft.ifft2(torch.polar(amplitude, phase)).real


def perturb_patches(patches: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Patches with their own phase and the mixed amplitude. (..., side, side) each, of values >= 0, so that the mean,
    too, is an amplitude with phase 0; share: broadcast against them."""
    amplitude, phase = amplitude_and_phase(patches)
    return from_amplitude_and_phase(mix_amplitudes(amplitude, amplitude_and_phase(others)[0], share), phase)


def perturb_dominant(pixels: Tensor, gates: Tensor, others: Tensor, side: int, settings: PatchAugmentation) -> Tensor:
    """DPAP on every given picture, with torch's generator: each dominant patch is mixed with a random patch of a random
    picture of `others`.

    pixels: (n, 3, size, size) in [-1, 1]; the result too. gates: (n, patches). others: (m, 3, size, size).
    """
    patches = to_patches((pixels + 1) / 2, side)
    pool = to_patches((others + 1) / 2, side).flatten(0, 1)
    where = dominant_patches(gates, settings.top_share)
    rows = torch.arange(len(patches), device=pixels.device)[:, None]
    foreign = pool[torch.randint(len(pool), where.shape, device=pixels.device)]
    share = settings.mix * torch.rand(*where.shape, 1, 1, 1, device=pixels.device)
    perturbed = perturb_patches(patches[rows, where], foreign, share).clamp(0, 1)
    return from_patches(patches.index_put((rows, where), perturbed) * 2 - 1, pixels)


# EHSM


def token_entropy(tokens: Tensor) -> Tensor:
    """(n, tokens, width) -> (n, tokens) nats: the entropy of each token's values, taken as a sample of a Gaussian:
    H = ln sigma + (1/2) ln(2 pi e). tokens: times their gates, as recognition reads them."""
    return tokens.float().std(dim=-1, correction=0).clamp_min(LEAST_SPREAD).log() + UNIT_ENTROPY


def sample_weights(entropy: Tensor) -> Tensor:
    """(n, tokens) -> (n,) weight of each picture in the classification loss: gamma = 1 + exp(-mean entropy).

    Little information in the tokens: hard, a larger weight. The gradient goes through it: a smaller loss asks for more
    information in every token. (The published training puts sigma in the place of H, to be on the safe side
    numerically; here the spread has a floor instead.)
    """
    return 1 + torch.exp(-entropy.mean(dim=1))
