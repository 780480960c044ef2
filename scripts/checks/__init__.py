"""What scripts/doctor.py looks at."""
