"""Recordings in, labelled sequences out: reading, resampling, splitting and scaling, each written once."""

from edgegru.data.config import DataConfig
from edgegru.data.preparation import calibration_sequences, data_section, labelled_sequences, prepare
from edgegru.data.reading import read_recordings
from edgegru.data.recordings import Dataset, LabelledSequence, Recording, RecordingSet

__all__ = [
    "DataConfig",
    "Dataset",
    "LabelledSequence",
    "Recording",
    "RecordingSet",
    "calibration_sequences",
    "data_section",
    "labelled_sequences",
    "prepare",
    "read_recordings",
]
