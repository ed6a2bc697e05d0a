"""Mechanisms that keep what is known of people from being read off a model or its explanations."""
