"""What is learned from: sources of pictures, everything frozen computed once, and a step's batches."""
