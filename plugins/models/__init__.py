"""Recommender architectures."""
