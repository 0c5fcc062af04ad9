"""One module for each command, which holds a click command named `main`."""
