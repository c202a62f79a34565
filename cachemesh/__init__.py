"""CacheMesh: an elastic Redis cache that apps reach directly, with no proxy in the data path."""
