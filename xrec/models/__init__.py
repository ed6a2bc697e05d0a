"""The recommender, what it is built on, and how well it ranks."""
