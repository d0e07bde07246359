"""The causal identity benchmark: one factor of the reference is changed, all factors of the result are read."""
