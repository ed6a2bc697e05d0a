"""First-party compressors."""
