"""What a process has begun and heard, read by whoever finds it dead."""

import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from tests import factories
from tests.support import queued
from wa_dashboard.db import all_tenants, db
from wa_dashboard.models import Attempt, Message
from wa_dashboard.providers.base import Outcome
from wa_dashboard.services import engine
from wa_dashboard.services.journal import Journal, of_the_dead

ANSWER = Outcome("accepted", external_id="wamid.1")
NO = Outcome("rejected", "recipient", "131026", "nu e pe WhatsApp „deloc”", retry_after=1.5, scope="recipient")


def leave(folder, *, alone=True):
    """A journal whose process was killed: the lock has gone, the file stays."""
    journal = Journal(folder)
    journal.begin("msg_a", 1)
    journal.begin("msg_b", 2)
    journal.heard("msg_a", 1, ANSWER)
    if alone:
        os.close(journal._file)
    return journal


def found_in(folder):
    return list(of_the_dead(folder))


def test_what_a_dead_process_began_and_heard_is_found_once(tmp_path):
    journal = leave(tmp_path)

    (found,) = found_in(tmp_path)

    assert (found.name, found.whole) == (journal.name, True)
    assert found.begun == {"msg_a.1", "msg_b.2"}
    assert found.heard == {"msg_a.1": ANSWER}
    assert found_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_an_answer_comes_back_as_it_was(tmp_path):
    journal = leave(tmp_path, alone=False)
    journal.heard("msg_b", 2, NO)
    os.close(journal._file)

    (found,) = found_in(tmp_path)

    assert found.heard["msg_b.2"] == NO


def test_journal_of_a_living_process_is_left_alone(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from wa_dashboard.services.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); journal.begin('msg_a', 1); print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

        assert found_in(tmp_path) == []
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()

    assert [found.begun for found in found_in(tmp_path)] == [{"msg_a.1"}]


def test_two_who_look_at_once_do_not_both_find_it(tmp_path):
    leave(tmp_path)

    first = of_the_dead(tmp_path)
    next(first)

    assert found_in(tmp_path) == []
    assert next(first, None) is None


def test_whoever_fails_to_deal_with_it_leaves_it_for_the_next(tmp_path):
    leave(tmp_path)

    with pytest.raises(ZeroDivisionError):
        for _ in of_the_dead(tmp_path):
            raise ZeroDivisionError

    assert len(found_in(tmp_path)) == 1


def test_torn_last_line_counts_for_nothing_and_spoils_nothing(tmp_path):
    journal = leave(tmp_path)
    path = tmp_path / f"{journal.name}.journal"
    whole = path.read_bytes()
    last = whole[: whole.rstrip(b"\n").rfind(b"\n") + 1]
    for cut in range(len(last), len(whole)):
        path.write_bytes(whole[:cut])

        (found,) = found_in(tmp_path)

        assert (found.whole, found.begun, found.heard) == (True, {"msg_a.1", "msg_b.2"}, {}), cut


def test_damage_within_is_never_taken_for_a_complete_record(tmp_path):
    journal = leave(tmp_path)
    path = tmp_path / f"{journal.name}.journal"
    lines = path.read_bytes().split(b"\n")
    lines.insert(2, b'{"of": "msg')
    path.write_bytes(b"\n".join(lines))

    (found,) = found_in(tmp_path)

    assert not found.whole
    assert found.heard == {"msg_a.1": ANSWER}


@pytest.mark.parametrize("machine", ["elsewhere/4d6ff4c1", None])
def test_journal_written_before_the_machine_was_started_again_is_not_complete(tmp_path, machine):
    """What was written last may have been lost with the power."""
    journal = leave(tmp_path)
    path = tmp_path / f"{journal.name}.journal"
    lines = path.read_bytes().split(b"\n")
    lines[0] = json.dumps({"made": machine}).encode()
    path.write_bytes(b"\n".join(lines))

    (found,) = found_in(tmp_path)

    assert not found.whole


def test_journal_that_is_being_made_at_this_moment_is_left_alone(tmp_path):
    path = tmp_path / "jrn_new.journal"
    path.touch()

    assert found_in(tmp_path) == []
    assert path.exists()


def test_all_went_well_leaves_nothing_behind_and_trouble_does(tmp_path):
    with Journal(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []

    with pytest.raises(ZeroDivisionError), Journal(tmp_path) as journal:
        journal.begin("msg_a", 1)
        raise ZeroDivisionError
    assert [found.begun for found in found_in(tmp_path)] == [{"msg_a.1"}]


# --- a disk that is full ----------------------------------------------------------------------------------------


class FullDisk:
    """The file system takes ``room`` bytes more of journals, then a part of a line, then nothing."""

    def __init__(self, room, monkeypatch):
        self.room, self._write = room, os.write
        monkeypatch.setattr("wa_dashboard.services.journal.os.write", self.write)

    def write(self, file, data):
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND == 0:
            return self._write(file, data)
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        took = self._write(file, data[: self.room])
        self.room -= took
        return took


def test_after_a_line_that_was_not_written_whole_nothing_more_may_begin(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    disk = FullDisk(20, monkeypatch)
    journal.begin("msg_a", 1)
    with pytest.raises(OSError):
        journal.begin("msg_long_name", 1)
    disk.room = 10_000

    with pytest.raises(OSError):
        journal.begin("msg_c", 1)
    journal.heard("msg_a", 1, ANSWER)  # is said in the log only
    os.close(journal._file)

    (found,) = found_in(tmp_path)
    assert (found.begun, found.heard) == ({"msg_a.1"}, {})


def test_nothing_leaves_that_the_full_disk_could_not_note(app, far_end, monkeypatch):
    ready = factories.make_tenant()
    template = factories.make_template(ready)
    ids = queued.queue(ready, template, queued.people(ready, 8))
    FullDisk(120 + 3 * len(f"B{ids[0]}.1\n"), monkeypatch)  # the first line, and a few of the eight

    engine.serve(0.3)

    with all_tenants("a test looks"):
        said = dict(db.session.execute(select_statuses()).all())
        codes = set(db.session.scalars(db.select(Attempt.error_code)))
        db.session.rollback()
    assert 0 < len(far_end.arrivals) < 8
    left = set(far_end.message_ids())
    assert {message_id for message_id, status in said.items() if status == "accepted"} == left
    assert {status for message_id, status in said.items() if message_id not in left} == {"queued"}
    assert codes == {None, "self_fence"}


def select_statuses():
    return db.select(Message.id, Message.status)
