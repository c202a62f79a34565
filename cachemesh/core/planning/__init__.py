"""From a call to sub-requests for shards, and from their replies to one reply."""
