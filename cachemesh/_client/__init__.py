"""What the sync and the asyncio client are made of."""
