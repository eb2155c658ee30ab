"""From an artifact to files for other runtimes, and the check of what was written. No torch.

The public functions are ``exporting.export``, ``verification.verify``, ``dequantization.dequantize`` and
``saving.save_artifact``.
"""

__version__ = "0.1.0"
