"""Worlds to recommend in."""
