"""The pages of docs/reference/, which are generated from the code: one module for each page.

The description of a field is the comment above it in the source; that of a message or route is its docstring.
"""
