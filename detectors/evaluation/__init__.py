"""One table of matches, and every figure that is derived from it."""
