"""Exports of the integer network: ONNX, C, memory images, golden vectors."""
