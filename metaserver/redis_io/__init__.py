"""Connections to Redis and Sentinel processes, bounded in time, bytes and addresses."""
