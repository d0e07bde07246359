"""The training of a face adapter (`recipe: adapter`)."""
