"""Routes for operators over HTTP: models, generation, sessions and devices.

How a model is run is in `hosting`.
"""
