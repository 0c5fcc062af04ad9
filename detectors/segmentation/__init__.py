"""Networks that answer with a probability a pixel."""
