"""The audio section of a camera's connection: Opus packets to sound and back, beside aiortc."""
