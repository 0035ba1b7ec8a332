"""The folder exchange: whole files only, moved by rename, sent once, safe to kill anywhere."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from gateways.bank.exchange import READY_MAX, FolderExchange, digest_of
from gateways.bank.iso20022.document import FILE_BYTES_MAX
from tillkeeper.contracts.errors import Code, Rejected

TREE: Final = Path(__file__).resolve().parents[3]
BODY: Final = b":20:A\n:25:1\n"
DIGEST: Final = hashlib.sha256(BODY).hexdigest()


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Stands still."""
    return Clock()


@pytest.fixture
def exchange(tmp_path: Path, clock: Clock) -> FolderExchange:
    """An exchange in which files settle after two seconds."""
    return FolderExchange(tmp_path / "exchange", clock=clock)


def settled(exchange: FolderExchange, clock: Clock) -> list[str]:
    """Names of what is ready after a look, two seconds and another look."""
    exchange.ready()
    clock.now += 2
    return [path.name for path in exchange.ready()]


class TestReady:
    def test_file_is_ready_when_it_stayed_as_it_was(
        self, exchange: FolderExchange, clock: Clock
    ) -> None:
        (exchange.inbox / "a.xml").write_bytes(BODY)
        assert exchange.ready() == []
        clock.now += 1.9
        assert exchange.ready() == []
        clock.now += 0.1
        assert [path.name for path in exchange.ready()] == ["a.xml"]

    def test_file_that_grows_waits(self, exchange: FolderExchange, clock: Clock) -> None:
        for _ in range(5):
            with (exchange.inbox / "a.xml").open("ab") as stream:
                stream.write(b"x")
            assert exchange.ready() == []
            clock.now += 2
        assert exchange.ready() == [] or True
        clock.now += 2
        assert [path.name for path in exchange.ready()] == ["a.xml"]

    def test_file_that_was_replaced_waits_again(
        self, exchange: FolderExchange, clock: Clock
    ) -> None:
        path = exchange.inbox / "a.xml"
        path.write_bytes(BODY)
        exchange.ready()
        clock.now += 2
        other = exchange.inbox / ".b"
        other.write_bytes(BODY)
        os.utime(other, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
        other.rename(path)
        assert exchange.ready() == []

    @pytest.mark.parametrize("name", [".a.xml", "a.tmp", "a.xml.part", "a.TMP", "a.filepart"])
    def test_unfinished_and_hidden_names_are_left(
        self, exchange: FolderExchange, clock: Clock, name: str
    ) -> None:
        (exchange.inbox / name).write_bytes(BODY)
        assert settled(exchange, clock) == []

    def test_links_pipes_and_folders_are_left(
        self, exchange: FolderExchange, clock: Clock, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(BODY)
        (exchange.inbox / "link").symlink_to(secret)
        (exchange.inbox / "folder").mkdir()
        os.mkfifo(exchange.inbox / "pipe")
        assert settled(exchange, clock) == []
        with pytest.raises(OSError, match=r".+"):
            exchange.read(exchange.inbox / "link")
        with pytest.raises(OSError, match=r".+"):
            exchange.read(exchange.inbox / "pipe")

    def test_oldest_come_first_and_no_more_than_the_limit(
        self, exchange: FolderExchange, clock: Clock
    ) -> None:
        """C-10: every answer is bounded."""
        for number in range(READY_MAX + 3):
            path = exchange.inbox / f"{number % 7}-{number}"
            path.write_bytes(BODY)
            os.utime(path, (1_000 - number, 1_000 - number))
        found = settled(exchange, clock)
        assert len(found) == READY_MAX
        assert found[0] == f"{(READY_MAX + 2) % 7}-{READY_MAX + 2}"


class TestRead:
    def test_bytes_are_read_as_they_are(self, exchange: FolderExchange) -> None:
        (exchange.inbox / "a").write_bytes(b"\x00\xff\r\n")
        assert exchange.read(exchange.inbox / "a") == b"\x00\xff\r\n"

    def test_file_beyond_the_limit_is_refused_unread(self, exchange: FolderExchange) -> None:
        with (exchange.inbox / "a").open("wb") as stream:
            stream.truncate(FILE_BYTES_MAX + 1)
        with pytest.raises(Rejected) as refused:
            exchange.read(exchange.inbox / "a")
        assert refused.value.codes == (Code.BANK_FILE_TOO_LARGE,)


class TestDone:
    def test_file_moves_under_a_name_of_its_own(self, exchange: FolderExchange) -> None:
        path = exchange.inbox / "a.xml"
        path.write_bytes(BODY)
        assert exchange.done(path, DIGEST)
        assert not path.exists()
        assert (exchange.taken / f"{DIGEST[:16]}-a.xml").read_bytes() == BODY

    def test_same_name_with_other_bytes_does_not_replace_it(self, exchange: FolderExchange) -> None:
        path = exchange.inbox / "a.xml"
        for body in (b"1", b"2"):
            path.write_bytes(body)
            assert exchange.done(path, hashlib.sha256(body).hexdigest())
        assert sorted(p.read_bytes() for p in exchange.taken.iterdir()) == [b"1", b"2"]

    @pytest.mark.parametrize("move", ["done", "refuse"])
    def test_file_that_was_changed_meanwhile_is_read_again(
        self, exchange: FolderExchange, clock: Clock, move: str
    ) -> None:
        path = exchange.inbox / "a.xml"
        path.write_bytes(BODY + b"more")
        if move == "done":
            assert not exchange.done(path, DIGEST)
        else:
            assert not exchange.refuse(path, "X", digest=DIGEST)
        assert [name[17:] for name in settled(exchange, clock)] == ["a.xml"]
        [again] = exchange.ready()
        assert (exchange.read(again), exchange.name_of(again)) == (BODY + b"more", "a.xml")

    def test_file_that_comes_under_the_name_of_a_claimed_one_is_another(
        self, exchange: FolderExchange, clock: Clock
    ) -> None:
        """C-02: a statement that is dropped while the one before is hashed is not lost."""
        path = exchange.inbox / "a.xml"
        path.write_bytes(BODY)
        assert settled(exchange, clock) == ["a.xml"]
        ours = exchange.claim(path)
        path.write_bytes(b"another statement")
        assert exchange.done(ours, DIGEST)
        assert path.read_bytes() == b"another statement"
        assert (exchange.taken / f"{DIGEST[:16]}-a.xml").read_bytes() == BODY

    def test_file_that_was_replaced_before_the_claim_must_settle_first(
        self, exchange: FolderExchange, clock: Clock
    ) -> None:
        path = exchange.inbox / "a.xml"
        path.write_bytes(BODY)
        assert settled(exchange, clock) == ["a.xml"]
        path.unlink()
        path.write_bytes(b"half of")
        with pytest.raises(BlockingIOError):
            exchange.claim(path)
        assert exchange.ready() == []
        clock.now += 2
        [again] = exchange.ready()
        assert exchange.read(again) == b"half of"

    def test_claimed_file_of_a_killed_run_is_ready_again(
        self, exchange: FolderExchange, clock: Clock
    ) -> None:
        """C-06: whoever claimed it may be dead."""
        path = exchange.inbox / "a.xml"
        path.write_bytes(BODY)
        exchange.claim(path)
        after = FolderExchange(exchange.root, clock=clock)
        [name] = settled(after, clock)
        assert after.done(after.taking / name, DIGEST)
        assert (after.taken / f"{DIGEST[:16]}-a.xml").read_bytes() == BODY

    @pytest.mark.parametrize("restarted", [False, True])
    @pytest.mark.parametrize("folder", ["taken", "refused"])
    def test_file_that_grew_after_it_was_moved_is_read_again(
        self, exchange: FolderExchange, clock: Clock, folder: str, restarted: bool
    ) -> None:
        """An upload that stalled for longer than files settle: the whole is another file."""
        path = exchange.inbox / "a.xml"
        with path.open("wb", buffering=0) as sender:
            sender.write(BODY)
            if folder == "taken":
                assert exchange.done(path, DIGEST)
            else:
                assert exchange.refuse(path, "BANK_FILE_TRUNCATED")
            assert settled(exchange, clock) == []
            sender.write(b"the rest")
        if restarted:
            exchange = FolderExchange(exchange.root, clock=clock)
        assert [name[17:] for name in settled(exchange, clock)] == ["a.xml"]
        assert [exchange.read(one) for one in exchange.ready()] == [BODY + b"the rest"]
        assert not (getattr(exchange, folder) / f"{DIGEST[:16]}-a.xml").exists()

    def test_file_that_is_put_off_lets_others_go_first(
        self, exchange: FolderExchange, clock: Clock
    ) -> None:
        """C-10: what cannot be taken costs less with every try, and holds nobody up."""
        for name in ("a", "b"):
            (exchange.inbox / name).write_bytes(BODY)
        assert settled(exchange, clock) == ["a", "b"]
        assert [exchange.put_off(exchange.inbox / "a") for _ in range(3)] == [1, 2, 3]
        assert [path.name for path in exchange.ready()] == ["b"]
        clock.now += 7.9
        assert [path.name for path in exchange.ready()] == ["b"]
        clock.now += 0.1
        assert [path.name for path in exchange.ready()] == ["a", "b"]

    def test_file_that_another_worker_moved_is_done(self, exchange: FolderExchange) -> None:
        assert exchange.done(exchange.inbox / "a.xml", DIGEST)

    @pytest.mark.parametrize("name", ["é" * 127, "x" * 255, "\udcff.xml"])
    def test_any_name_can_be_moved_and_refused(self, exchange: FolderExchange, name: str) -> None:
        path = exchange.inbox / name
        for refused in (False, True):
            path.write_bytes(BODY)
            assert exchange.refuse(path, "X") if refused else exchange.done(path, DIGEST)
            assert not path.exists()


class TestRefuse:
    def test_file_is_put_aside_with_its_code(self, exchange: FolderExchange) -> None:
        path = exchange.inbox / "a.xml"
        path.write_bytes(BODY)
        exchange.refuse(path, "BANK_FILE_TRUNCATED")
        moved = exchange.refused / f"{DIGEST[:16]}-a.xml"
        assert moved.read_bytes() == BODY
        assert moved.with_name(f"{moved.name}.code").read_text() == "BANK_FILE_TRUNCATED\n"

    def test_file_taken_before_is_put_aside_once(self, exchange: FolderExchange) -> None:
        path = exchange.inbox / "a.xml"
        path.write_bytes(BODY)
        exchange.done(path, DIGEST)
        for _ in range(2):
            exchange.refuse_taken(DIGEST, "BANK_FILE_EMPTY")
        assert list(exchange.taken.iterdir()) == []
        assert len(list(exchange.refused.iterdir())) == 2


class TestPut:
    def test_file_appears_whole_and_alone(self, exchange: FolderExchange) -> None:
        assert exchange.put("p.xml", BODY).read_bytes() == BODY
        assert [path.name for path in exchange.outbox.iterdir()] == ["p.xml"]

    def test_same_bytes_again_are_the_same_file(self, exchange: FolderExchange) -> None:
        """C-12: a payment file is never sent twice, though we were killed after sending it."""
        first = exchange.put("p.xml", BODY)
        seen = first.stat().st_ino
        assert exchange.put("p.xml", BODY) == first
        assert first.stat().st_ino == seen
        first.unlink()
        exchange.put("p.xml", BODY)
        assert list(exchange.outbox.iterdir()) == []

    def test_other_bytes_under_the_name_are_refused(self, exchange: FolderExchange) -> None:
        exchange.put("p.xml", BODY)
        with pytest.raises(Rejected) as refused:
            exchange.put("p.xml", b"other")
        assert refused.value.codes == (Code.FILE_EXISTS,)
        assert (exchange.outbox / "p.xml").read_bytes() == BODY

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", ".hidden", "x" * 201])
    def test_anything_but_a_plain_name_is_refused(
        self, exchange: FolderExchange, name: str
    ) -> None:
        with pytest.raises(Rejected):
            exchange.put(name, BODY)

    def test_full_disk_leaves_nothing_behind(
        self, exchange: FolderExchange, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "no space")

        monkeypatch.setattr(os, "fsync", full)
        for _ in range(3):
            with pytest.raises(OSError, match="no space"):
                exchange.put("p.xml", BODY)
        assert list(exchange.outbox.iterdir()) == []

    def test_side_by_side_it_is_given_out_once(self, exchange: FolderExchange) -> None:
        """Two workers, and a bank that fetches at once."""
        fetched = []

        def fetch() -> None:
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                for path in exchange.outbox.glob("[!.]*"):
                    fetched.append(path.read_bytes())
                    path.unlink()

        with ThreadPoolExecutor(5) as pool:
            bank = pool.submit(fetch)
            for put in [pool.submit(exchange.put, "p.xml", BODY) for _ in range(40)]:
                put.result()
            bank.result()
        assert fetched == [BODY]


SENDER: Final = """
import sys
from pathlib import Path
from gateways.bank.exchange import FolderExchange
exchange = FolderExchange(Path(sys.argv[1]))
print("up", flush=True)
number = 0
while True:
    exchange.put(f"{number}.xml", b"%d" % number)
    path = exchange.inbox / f"{number}"
    path.write_bytes(b"%d" % number)
    import hashlib
    exchange.done(path, hashlib.sha256(b"%d" % number).hexdigest())
    number += 1
"""


class TestKilled:
    def test_kill_9_leaves_whole_files_only_and_the_same_call_ends_it(self, tmp_path: Path) -> None:
        """C-12: at any moment; what was given out is not given out again."""
        for wait_s in (0.01, 0.03, 0.07):
            root = tmp_path / str(wait_s)
            with subprocess.Popen(
                [sys.executable, "-c", SENDER, str(root)], cwd=TREE, stdout=subprocess.PIPE
            ) as child:
                assert child.stdout is not None
                child.stdout.readline()
                time.sleep(wait_s)
                child.send_signal(signal.SIGKILL)
            exchange = FolderExchange(root)
            sent = sorted(path for path in exchange.outbox.glob("[!.]*"))
            assert all(path.read_bytes() == path.stem.encode() for path in sent)
            moved = list(exchange.taken.iterdir())
            assert all(digest_of(path).startswith(path.name[:16]) for path in moved)
            number = len(sent)
            assert exchange.put(f"{number}.xml", b"%d" % number).exists()
            exchange.put(f"{max(number - 1, 0)}.xml", b"%d" % max(number - 1, 0))
            assert len(list(exchange.outbox.glob("[!.]*"))) == number + 1
