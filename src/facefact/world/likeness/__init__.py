"""From photos of a person to the person of the portrait world that is most like them, and what they wear, in words."""

from facefact.world.likeness.estimate import Likeness, likeness, portrait
from facefact.world.likeness.sight import Sight, look_at

__all__ = ["Likeness", "Sight", "likeness", "look_at", "portrait"]
