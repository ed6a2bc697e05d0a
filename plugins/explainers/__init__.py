"""What says how much each feature contributed."""
