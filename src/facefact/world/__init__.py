"""The controlled portrait world: avatars from explicit factors; identity, attributes and masks have ground truth."""

from facefact.world.caption import OPTIONAL, caption, corpus, phrases
from facefact.world.draw import Rendering, render
from facefact.world.factors import CHOICES, IDENTITY, Look, Person, look, person, visible
from facefact.world.seeds import HELD_OUT, first_held_out, held_out_seed, training_seed

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
    "first_held_out",
    "held_out_seed",
    "look",
    "person",
    "phrases",
    "render",
    "training_seed",
    "visible",
]
