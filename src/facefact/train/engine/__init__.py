"""The training loop: steps, checkpoints, processes, optimizers. Knows no model and no data."""
