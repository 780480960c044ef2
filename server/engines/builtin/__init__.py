"""The built-in engine: reads text and codes, names colours, counts faces, finds changes."""

from server.engines.builtin.engine import BuiltinEngine

__all__ = ["BuiltinEngine"]
