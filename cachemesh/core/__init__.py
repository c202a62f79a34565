"""Pure decisions: no sockets, threads, clocks or event loops. Imports nothing else of ours.

- `placement`: which shard owns a key. `commands`: what a command touches.
- `planning`: from a call to sub-requests, and from their replies to one reply.
- `pool`: what defines a pool: document, settings, topology.
- `resilience`: what is sent again, when and where. `reads`: which instance answers a read.
- `quality`: what an app feels of each shard.
- `connection_names`: whose a connection is, by its name. `client_list`: those of an instance.
- `migration`: keys on their way between shards. `fencing`, `rerouting`: during a resize.
- `hidden_secrets`: takes them out of errors.
- `errors`, `names`, `policy`, `json_text`, `malformed_replies`, `plurals`: used by all rooms.
"""
