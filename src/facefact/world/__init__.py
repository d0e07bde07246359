"""The controlled portrait world: avatars from explicit factors; identity, attributes and masks have ground truth."""

from facefact.world.caption import OPTIONAL, caption, corpus, phrases
from facefact.world.draw import Rendering, render
from facefact.world.factors import CHOICES, HELD_OUT, IDENTITY, Look, Person, look, person, visible

__all__ = [
    "CHOICES",
    "HELD_OUT",
    "IDENTITY",
    "OPTIONAL",
    "Look",
    "Person",
    "Rendering",
    "caption",
    "corpus",
    "look",
    "person",
    "phrases",
    "render",
    "visible",
]
