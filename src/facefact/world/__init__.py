"""The controlled portrait world: avatars from explicit factors, with ground truth for identity, attributes and masks."""

from facefact.world.caption import caption, corpus, phrases_to_drop
from facefact.world.draw import Rendering, render
from facefact.world.factors import CHOICES, IDENTITY, Look, Person, look, person, visible

__all__ = [
    "CHOICES", "IDENTITY", "Look", "Person", "Rendering", "caption", "corpus", "look", "person", "phrases_to_drop", "render",
    "visible",
]  # fmt: skip
