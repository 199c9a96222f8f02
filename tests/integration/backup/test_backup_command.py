"""Backup and restore as a process."""

import os
import subprocess
import sys

import pytest

from data_store.backup import INCOMPLETE
from data_store.backup.archive import CHUNK_BYTES
from data_store.backup.manifest import Manifest
from document_api.last_backup import last_backup
from tests.integration.backup.conftest import PEPPER, System, members, run
from tests.waiting import eventually


class TestCommandLine:
    """`python -m data_store.backup`."""

    @pytest.mark.parametrize(("pepper", "warned"), [(PEPPER, False), ("another", True)])
    def test_there_and_back(self, source: System, target: System, pepper: str, *, warned: bool) -> None:
        """The archive goes through the standard streams; what is said does not get into it."""
        backed_up = run(source, "create")
        said = backed_up.stderr.decode().splitlines()
        assert backed_up.returncode == 0
        assert said[0].startswith("backed up 3 documents (2.6 MB) as of ")
        assert said[-1].startswith("not in it, keep it beside it: API_KEY_PEPPER")
        restored = run(target, "restore", archive=backed_up.stdout, pepper=pepper)
        assert restored.returncode == 0, restored.stderr
        assert restored.stderr.decode().startswith("restored 3 documents (2.6 MB) as of ")
        assert (b"warning: API_KEY_PEPPER is not that of the backup" in restored.stderr) == warned
        assert target.rows() == source.rows()
        assert len(target.files()) == 3

    def test_a_whole_backup_leaves_word_of_its_time_and_one_that_is_incomplete_does_not(
        self, source: System, target: System
    ) -> None:
        """What a document API tells of it is the moment that the backup is of; what is missing is told by the exit code as well."""
        assert last_backup(source.uploads) == [(0.0, {})]
        archive = run(source, "create").stdout
        taken_at = Manifest.parse(members(archive)["manifest.json"]).taken_at.timestamp()
        assert last_backup(source.uploads) == [(pytest.approx(taken_at), {})]

        source.store("hurt", b"bytes").unlink()
        backed_up = run(source, "create")
        restored = run(target, "restore", archive=backed_up.stdout)
        for ended in (backed_up, restored):
            assert ended.returncode == INCOMPLETE
            *_, told, line = ended.stderr.decode().splitlines()
            assert told.startswith("incomplete: without the bytes of 1 files, which were lost or damaged")
            assert " of client hurt (documents/" in line
        assert last_backup(source.uploads) == [(pytest.approx(taken_at), {})]

    def test_a_folder_in_which_no_word_can_be_left_costs_no_backup(self, target: System) -> None:
        """It is said, and the archive is as good."""
        target.uploads.rmdir()
        backed_up = run(target, "create")
        assert backed_up.returncode == 0
        assert b"warning: how old this backup gets will not be told" in backed_up.stderr

    def test_a_restore_that_is_ended_leaves_nothing(self, source: System, target: System) -> None:
        """Not even the files that it has written already."""
        environment = {**os.environ, "DATABASE_URL": target.postgresql.owner_url(target.database)}
        program = (sys.executable, "-m", "data_store.backup", "restore", "--uploads", str(target.uploads))
        with subprocess.Popen(
            program, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin
            process.stdin.write(source.create()[:-CHUNK_BYTES])
            process.stdin.flush()
            eventually(target.files, "files are written", seconds=60)
            process.terminate()
            process.wait(60)
            assert process.stderr
            assert process.stderr.read() == b"error: interrupted\n"
            assert process.returncode == 130
        assert target.is_untouched
        assert not (target.uploads / "restoring").exists()

    def test_what_fails_is_one_line(self, source: System) -> None:
        """Without a stack."""
        failed = run(source, "restore", archive=b"nonsense")
        assert failed.returncode == 1
        (line,) = failed.stderr.decode().splitlines()
        assert line.startswith("error: this is no backup of robin")
