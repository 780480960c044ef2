"""Operators' routes for sessions and devices. Those for models are in the feature `hosting`."""
