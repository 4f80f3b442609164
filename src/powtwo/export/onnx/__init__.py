"""The three ONNX files of an integer network."""
