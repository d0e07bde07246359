"""The embedded model's own training (`recipe: world`): its parts, and what makes them."""
