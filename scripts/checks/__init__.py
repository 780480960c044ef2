"""Checks of scripts/doctor.py."""
