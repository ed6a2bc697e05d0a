"""What an explanation is, what is explained, and masked evaluation."""
