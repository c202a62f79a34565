"""Pure decisions: no sockets, threads, clocks or event loops. Imports nothing else of ours."""
