"""The built-in engine: reads text and codes, names colours and light, counts faces, tells what changed."""

from server.engines.builtin.engine import BuiltinEngine

__all__ = ["BuiltinEngine"]
