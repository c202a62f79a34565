"""Decisions about pools and shards, without I/O and without HTTP."""
