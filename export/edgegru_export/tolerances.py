"""How far an exported file may be from its model: the numbers that ``verify`` uses, listed in docs/export.md."""

FLOAT_TOLERANCE = 1e-5
"""Float files: largest |difference| ≤ this × max(1, max|value|) for every output and state."""

ONNX_INTEGER_TOLERANCE = 0.0
"""Integer ONNX files compute the same integers: every bit of every output and state."""

TFLITE_RMS_FACTOR = 1.5
TFLITE_RMS_FLOOR = 1e-3
"""Integer TFLite files, against the float model of the dequantized weights, for every output and state:
rms error ≤ factor × rms error of the integer reference + floor × max(1, max|value|)."""

TFLITE_LARGEST_FACTOR = 2.0
TFLITE_LARGEST_FLOOR = 1.0 / 64
"""The same for the largest error of a single value: factor × largest error of the integer reference + floor ×
max(1, max|value|). The floor is two steps of an int8 operand: a value that lies on a rounding edge falls to one side
here and to the other there, and the recurrence carries that single step on."""

VERIFY_STEPS = 500
"""Closed-loop steps of one verification, and the least that is accepted."""
