"""How explanations are scored."""
