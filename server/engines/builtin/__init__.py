"""The built-in engine: reads text and codes, names colours, counts faces, finds changes.

It asks no model and no network. Its words in each language are in `languages/`.
"""
