"""Bytes on sockets. Imports only `cachemesh.core`; `adapter` alone touches redis-py's internals."""
