"""Routes for operators over HTTP: models, sessions and devices.

`hosting` runs the models.
"""
