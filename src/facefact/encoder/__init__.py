"""Face pictures -> tokens: the recognition ViT and the resampler."""

from facefact.encoder.resampler import Resampler, ResamplerConfig
from facefact.encoder.transface import TransFace, TransFaceConfig

__all__ = ["Resampler", "ResamplerConfig", "TransFace", "TransFaceConfig"]
