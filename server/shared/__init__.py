"""Modules that several features use, and the core does not: no module of the core imports it."""
