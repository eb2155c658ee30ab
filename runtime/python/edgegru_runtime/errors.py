"""Every failure a user can cause, one name each.

EdgegruError
├── ArtifactError          a model file that is broken or inconsistent
│   └── FormatVersionError a model file written by another format version
├── ConfigError            a training configuration that is invalid
├── DataError              recordings that cannot be read or used
├── CalibrationError       calibration data that cannot give ranges
├── QuantizationError      a model that a scheme cannot express
├── ImportModelError       a foreign model that cannot be imported
├── ExportError            a model that a target format cannot express
├── VerificationError      an exported file that does not compute what the model computes
├── InputError             a sample that cannot enter a stream
├── StateError             a saved state that does not belong to the model, or a stream used twice at once
└── EngineError            no engine on this machine can run the model

Messages say what was found, where, and what was expected, in one sentence.
"""


class EdgegruError(Exception):
    """Base of all errors raised for bad input of any kind."""


class ArtifactError(EdgegruError):
    """A model file is broken, truncated or inconsistent."""


class FormatVersionError(ArtifactError):
    """A model file has a format version that this reader does not know."""


class ConfigError(EdgegruError):
    """A configuration has an unknown, missing or invalid field."""


class DataError(EdgegruError):
    """Recordings cannot be read, or do not fit the model."""


class CalibrationError(EdgegruError):
    """Calibration data is empty, constant, not finite or has the wrong channels."""


class QuantizationError(EdgegruError):
    """A model cannot be expressed in the requested scheme."""


class ImportModelError(EdgegruError):
    """A foreign model cannot be imported exactly."""


class ExportError(EdgegruError):
    """A model cannot be expressed in the target format."""


class VerificationError(EdgegruError):
    """An exported file does not compute what its model computes."""


class InputError(EdgegruError):
    """A sample is not finite, or has the wrong length or type."""


class StateError(EdgegruError):
    """A saved state does not belong to this model, or a stream is used by two threads at once."""


class EngineError(EdgegruError):
    """No engine on this machine can run the model."""
