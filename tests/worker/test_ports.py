"""Ports that a child is to bind later."""

from __future__ import annotations

import socket

from worker.embedded.ports import LOOPBACK, free_port, listen


class TestFreePort:
    def test_nobody_else_is_given_it_and_its_owner_can_have_it(self) -> None:
        ours = {free_port(0, what="test", setting="test_port") for _ in range(200)}
        assert len(ours) == 200
        others = set()
        for _ in range(2_000):
            with socket.socket() as other:
                other.bind((LOOPBACK, 0))
                others.add(other.getsockname()[1])
        assert not ours & others
        for port in ours:
            listen(LOOPBACK, port, what="test", setting="test_port").close()
