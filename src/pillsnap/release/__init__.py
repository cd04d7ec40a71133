"""The trained models for use elsewhere: ONNX graphs, a timm folder, a bundle with checksums."""
