"""One's own people and prompts: the suite for models of photos."""
