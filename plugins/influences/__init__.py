"""Methods that trace a recommendation back to training interactions."""
