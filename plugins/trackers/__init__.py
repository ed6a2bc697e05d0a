"""Where training is logged."""
