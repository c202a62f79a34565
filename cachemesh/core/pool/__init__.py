"""What defines a pool: its document, its settings, and the topology that clients route by."""
