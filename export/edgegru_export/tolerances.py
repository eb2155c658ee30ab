"""How far an exported file may be from its model: the numbers that ``verify`` uses, explained in docs/export.md.

Integer TFLite files are held against the float model of the dequantized weights: an error may be FACTOR times that of
the integer reference, plus FLOOR times max(1, max|value|).

The values of an identity head are measured by their spread instead, the largest distance from their mean, each for
itself; on top comes what rounding to float32 costs beside an offset, half a step for every product of a row.
"""

FLOAT_TOLERANCE = 1e-5  # of float files: largest error over max(1, max|value|) …
C_FLOAT_TOLERANCE = 1e-6  # the same of float C, which is as near to the reference as the runtime's kernels are
FLOAT_OWN_FACTOR = 2.0  # … or over the float32 reference's own error, where that allows more
FLOAT_OWN_WALK = 4  # times the steps of the comparison, over which that error is measured before a file is refused
INTEGER_TOLERANCE = 0.0  # of integer ONNX files: none, every value equal
SMALLEST_SPREAD = 1e-6  # of values, over their magnitude: what moves less is float32's own rounding

DYNAMIC_LARGEST_FACTOR = 2.0  # of dynamic ONNX files: over what rounding values to int8 does to a step of the model …
DYNAMIC_RMS_FACTOR = 0.25  # … which a value near a tie may cost in a few steps, not in all

TFLITE_FACTOR = 1.5
TFLITE_RMS_FLOOR = 1e-3
TFLITE_LARGEST_FLOOR = 1e-2

ONE_STEP_FLOOR = 2.0  # the rms error of h after one step: units in the last place of the file's states
SINGLE_STEPS = 200  # steps from a common state, over which that error is measured

INT8_STATE_RMS_FLOOR = 0.05  # of TFLite files whose state is int8 by request
INT8_STATE_LARGEST_FLOOR = 0.4

VERIFY_STEPS = 500  # closed-loop steps of a verification, and the fewest that may be asked for
