"""What scores an explanation."""
