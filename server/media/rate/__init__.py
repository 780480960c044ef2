"""Bandwidth estimate of a camera's path, and the sending limits that follow from it. Pure.

The camera's own limits, awake and idle, are in `media/camera.py`.
"""
