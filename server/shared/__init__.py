"""Modules shared by several features. No module of the core imports them."""
