"""Worker process in the models' environment: `python -m server.features.generation.worker`.

Imports torch, numpy, this folder, and modules of the server that need no library.
"""
