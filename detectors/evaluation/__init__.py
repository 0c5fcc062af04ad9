"""One table of matches, and every metric that is derived from it."""
