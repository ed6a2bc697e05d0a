"""Searching for the options with which a recipe does best."""
