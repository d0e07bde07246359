"""Preparation: pictures of people, wherever they lie, become a clean training set (docs/method.md, "Data")."""
