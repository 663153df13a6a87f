"""Models for other runtimes: ONNX, LiteRT, StableHLO, web pages."""
