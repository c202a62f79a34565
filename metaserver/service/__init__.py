"""The use cases of the metaserver: what a request does, free of HTTP."""
