"""Comparing explainers, by users who were not looked at when their settings were chosen."""
