"""The HTTP API of the service: what comes in is checked and becomes a job in the table; the workers are elsewhere."""
