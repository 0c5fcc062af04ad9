"""How good a radiograph is: signal, noise, contrast, unsharpness, image quality indicators. NumPy alone."""
