"""python -m qwen_camera: the command qwen-camera."""

import sys

from qwen_camera.command import main

sys.exit(main())
