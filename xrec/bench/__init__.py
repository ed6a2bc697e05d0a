"""The benchmark of explainers: what is compared, what was measured, and what follows from it."""
