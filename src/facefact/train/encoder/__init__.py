"""The training of a face encoder (`recipe: encoder`)."""
