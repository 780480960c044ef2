"""Child processes: start, monitor and end them with all their descendants; exchange frames with workers."""
