"""How fast keys move to a shard that is added, beside what moves slots of a Redis Cluster."""
