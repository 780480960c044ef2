"""What scripts/monitor.py is made of: looks at the server, what they tell together, how it is shown."""
