"""The pages of docs/reference/, which are generated from the code: one module for each page.

A field's meaning is the comment above it in the source, a message's or a route's its docstring.
"""
