"""The blocking transport: one connection is held by one thread for one exchange."""
