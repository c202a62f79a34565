"""What runs in the background, in one metaserver of several."""
