"""What a run's model and its explanations tell of those whose histories they were made from."""
