"""Where a topology comes from: metaserver, Sentinel or a file. Imports only `cachemesh.core`."""
