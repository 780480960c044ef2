"""Routes for operators over HTTP: models, generation, sessions and devices.

`hosting` runs the models.
"""
