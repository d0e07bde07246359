"""Preparation: pictures of people, wherever they lie, become a clean training set (METHOD, "Data cleaning")."""
