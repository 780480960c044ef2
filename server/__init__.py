"""The qwen-camera server: fresh frames in, streamed answers out."""

import os

# Without this onnxruntime (from 1.31 on) keeps a database in the home directory and sends usage
# data. It reads the variable when it is loaded, so this stands before every other import of this
# package.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


__version__ = "1.0.0"
