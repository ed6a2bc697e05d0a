"""Taking a trained model out of its run, to where it is served."""
