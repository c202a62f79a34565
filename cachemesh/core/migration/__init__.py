"""Keys on their way from the shard that loses them to the one that gains them."""
