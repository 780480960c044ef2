"""Operators' routes for sessions. Those for models are in the feature `hosting`."""
