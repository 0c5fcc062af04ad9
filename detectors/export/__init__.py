"""From a trained model to a folder that ONNX Runtime runs without PyTorch."""
