"""Which training interactions made the model say what it says."""
