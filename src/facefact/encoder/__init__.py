"""Face pictures -> tokens: the recognition ViT and the resampler."""

from facefact.encoder.card import Card, load_card, save_card
from facefact.encoder.resampler import Resampler, ResamplerConfig
from facefact.encoder.transface import TransFace, TransFaceConfig

__all__ = ["Card", "Resampler", "ResamplerConfig", "TransFace", "TransFaceConfig", "load_card", "save_card"]
