"""A run's stages, its folder of artefacts, and what it costs."""
