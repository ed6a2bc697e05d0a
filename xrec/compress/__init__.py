"""Making a trained model smaller, and finding out what that does to it."""
