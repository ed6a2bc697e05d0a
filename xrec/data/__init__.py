"""Tables, their cleaning and splitting, the features they name, and the batches made of them."""
