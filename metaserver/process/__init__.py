"""What one metaserver process is: its settings, its clock, and its identity among processes."""
