"""Bandwidth estimate of a camera's path, and the sending limits that follow from it."""
