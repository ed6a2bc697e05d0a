"""Cleaning in small steps, each of which counts what it found, dropped and mended."""
