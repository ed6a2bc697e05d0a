"""First-party privacy mechanisms."""
