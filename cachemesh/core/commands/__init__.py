"""What a command touches: its keys, whether it writes or blocks, and the bytes of its arguments."""
