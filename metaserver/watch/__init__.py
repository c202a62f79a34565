"""Clients and browsers that wait for news of a pool."""
