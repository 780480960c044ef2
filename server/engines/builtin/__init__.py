"""The built-in engine: reads text and codes, names colours, counts faces, finds changes."""
