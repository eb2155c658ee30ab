"""From an artifact to files for other runtimes, and the check of what was written. No torch."""

__version__ = "0.1.0"
