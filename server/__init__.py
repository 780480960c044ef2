"""The qwen-camera server: fresh frames in, streamed answers out."""

__version__ = "0.1.0"
