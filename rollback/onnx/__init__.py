"""ONNX models as others made them: their graph, their weights, their answers."""
