"""The claims of the paper against peers that are trained and run alike."""
