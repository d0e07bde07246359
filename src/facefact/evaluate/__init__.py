"""Protocols that generate and score: who is asked for, who judges, and the figures."""
