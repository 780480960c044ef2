"""The process of a local recogniser. It runs in the models' environment, and imports of the server only
what needs no library.
"""
