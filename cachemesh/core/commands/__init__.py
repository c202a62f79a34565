"""What a command touches: its keys, whether it writes or blocks, and the bytes of its arguments.

- `table`: every command of Redis, generated. `command_info`: the form of its rows, and their
  source.
- `spec`: a command's key specifications, and the positions of the keys in a call.
- `registry`: the commands that a client knows, those of modules included.
- `blocking`: how long a command may block. `encoding`: arguments as bytes.
"""
