"""The identity of a process names its machine, its pid and when it started."""

from __future__ import annotations

import os
import socket

from metaserver.process.identity import known_dead, process_identity, process_is_alive


def test_a_process_of_this_machine() -> None:
    mine = process_identity()
    assert mine.startswith(f"{socket.gethostname()}:{os.getpid()}:")
    assert process_is_alive(mine)
    assert not known_dead(mine)
    later = f"{mine.rpartition(':')[0]}:1"
    assert not process_is_alive(later, elsewhere=[later]), "a pid that another process has now"
    assert known_dead(later)


def test_nothing_is_known_of_other_machines() -> None:
    other = f"elsewhere:{os.getpid()}:1"
    assert not process_is_alive(other)
    assert process_is_alive(other, elsewhere=[other])
    assert not known_dead(other)


def test_what_is_no_identity() -> None:
    for text in ("", "1:1", f"{os.getpid()}:1", f"{socket.gethostname()}:x:1"):
        assert not process_is_alive(text)
