"""Process of one fixed camera: connect, parse its stream, decode on demand.

All modules read untrusted input. They have no settings and handle one camera.
"""
