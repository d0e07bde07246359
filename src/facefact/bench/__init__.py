"""What it costs: time, memory and operations, measured side by side."""
