"""The command qwen-camera, run as `python -m qwen_camera`."""

import sys

from qwen_camera.command import main

sys.exit(main())
