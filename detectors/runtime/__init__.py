"""What runs an exported model: ONNX Runtime and NumPy, without PyTorch."""
