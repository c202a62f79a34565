"""The asyncio transport: all tasks share one connection to each instance."""
