"""The audio section of a camera's connection: Opus packets to sound and back, beside aiortc.

Speech in that sound, and speech that waits to be sent, are in `voice`.
"""
