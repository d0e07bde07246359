"""What is minimised. Losses know tensors, never the trainer or the model."""
