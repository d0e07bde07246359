"""The embedded model's own training (`recipe: world`): its parts, and the stages that build it."""
