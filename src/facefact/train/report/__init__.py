"""What a run leaves to look at: its page, plots, card and contact sheets."""
