"""The qwen-camera server: fresh frames in, streamed answers out."""

import os

# onnxruntime (from 1.31 on) else keeps a database in the home directory and reports to its maker. It reads this when
# it is loaded, so it has to be said before anything else of this package runs.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


__version__ = "0.1.0"
