"""The admin command line before it reaches a database: arguments, keys, and how answers are written."""

import hashlib
import hmac
import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from access.roles import Role
from data_store.admin.arguments import check, parser
from data_store.admin.output import as_json, table
from data_store.credentials.keys import ApiKey, prefix_of, stored_hash

KEY = ApiKey.new()
USER = ("--email", "ada@example.org", "--name", "Ada Lovelace")


def parsed(*arguments: str) -> dict[str, object]:
    """Return what a command line means."""
    whole = parser()
    options = whole.parse_args(arguments)
    check(options, whole)
    return vars(options)


class TestKeys:
    """An API key is `robin_<prefix>_<secret>`."""

    def test_its_form_is_the_one_that_scanners_can_be_taught(self) -> None:
        """12 and 64 hexadecimal digits."""
        assert re.fullmatch(r"robin_[0-9a-f]{12}_[0-9a-f]{64}", str(KEY))

    def test_no_two_are_alike(self) -> None:
        """In neither part."""
        keys = [ApiKey.new() for _ in range(100)]
        assert len({key.prefix for key in keys}) == len({key.secret for key in keys}) == 100

    def test_its_secret_is_in_no_representation(self) -> None:
        """It can be in a stack trace."""
        assert KEY.secret not in repr(KEY)

    def test_what_is_stored_is_made_of_its_digest_with_the_pepper(self) -> None:
        """As document_api makes the one and data_store the other."""
        digest = hashlib.sha256(KEY.secret.encode()).hexdigest()
        assert KEY.digest == digest
        assert stored_hash(KEY.digest, "pepper") == hmac.new(b"pepper", digest.encode(), "sha256").digest()
        assert stored_hash(KEY.digest, "pepper") != stored_hash(KEY.digest, "salt")

    def test_a_prefix_is_found_in_a_prefix_and_in_a_whole_key(self) -> None:
        """And in nothing else."""
        assert prefix_of(KEY.prefix) == prefix_of(str(KEY)) == KEY.prefix
        for text in ("", KEY.secret, f"robin_{KEY.prefix}", f"{KEY.prefix}\n", KEY.prefix.upper() + "A"):
            assert prefix_of(text) is None


class TestArguments:
    """What is wrong with them is one line and exit code 2."""

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ((), "the following arguments are required: COMMAND"),
            (("crate-client", "acme"), "invalid choice: 'crate-client'"),
            (("create-client", "../acme"), "'../acme' is no client's id"),
            (("create-client", "acme\n"), "'acme\\n' is no client's id"),
            (("create-client", "a" * 129), "is no client's id"),
            (("create-client", f"robin_{'0a' * 6}_{'b' * 64}"), "is no client's id"),
            (("create-client", "acme", "--max-bytes", "-1"), "--max-bytes: "),
            (("create-client", "acme", "--max-bytes", "1e9"), "'1e9' is neither a number nor 'default'"),
            (("create-client", "acme", "--max-bytes", str(2**63)), "is neither a number nor 'default'"),
            (("set-limits", "acme"), "set-limits needs --max-documents, --max-bytes or both"),
            (("create-user", "acme", *USER), "the following arguments are required: --role"),
            (("create-user", "acme", *USER, "--role", "boss"), "invalid choice: 'boss'"),
            (("create-user", *USER, "--role", "reader"), "CLIENT is needed: only an operator is of none"),
            (("create-user", "acme", *USER, "--role", "operator"), "an operator is of no client"),
            (
                ("create-user", "acme", "--email", "ada", "--name", "A", "--role", "reader"),
                "is no mail address",
            ),
            (("create-user", "acme", "--email", "a@b", "--name", "\x1b[2J", "--role", "reader"), "--name: "),
            (("issue-key", "7", "--expires-in", "soon"), "'soon' is no time"),
            (("issue-key", "7", "--expires-in", "0d"), "'0d' is no time"),
            (("issue-key", "7", "--expires-in", "999999999w"), "'999999999w' is too long"),
            (("issue-key", "7", "--expires-at", "2020-01-01"), "'2020-01-01' is in the past"),
            (("issue-key", "7", "--expires-at", "tomorrow"), "'tomorrow' is no moment"),
            (("issue-key", "7", "--expires-in", "1d", "--expires-at", "2999-01-01"), "not allowed with"),
            (("issue-key", "7", "--quiet", "--json"), "choose one"),
            (("list", "documents"), "invalid choice: 'documents'"),
        ],
    )
    def test_a_wrong_one_is_one_line(
        self, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
    ) -> None:
        """That says which, and where there is help."""
        with pytest.raises(SystemExit) as stop:
            parsed(*arguments)
        line = capsys.readouterr().err
        assert stop.value.code == 2
        assert line.startswith("error: ")
        assert told in line
        assert "--help shows how" in line
        assert line.count("\n") == 1

    @pytest.mark.parametrize("text", [KEY.secret, f"{KEY}0", f"Robin_{KEY.prefix}_{KEY.secret}"])
    def test_what_may_be_a_secret_is_not_echoed(self, capsys: pytest.CaptureFixture[str], text: str) -> None:
        """A key with a typing error is nearly a key."""
        with pytest.raises(SystemExit):
            parsed("revoke-key", text)
        assert KEY.secret not in capsys.readouterr().err

    def test_a_whole_key_is_revoked_by_its_prefix(self) -> None:
        """Nothing else of it goes any further."""
        assert parsed("revoke-key", str(KEY))["prefix"] == KEY.prefix

    @pytest.mark.parametrize("line", [f"{KEY}\n", f"  {KEY}", f"{KEY.prefix}\n"])
    def test_a_whole_key_is_read_from_standard_input(
        self, monkeypatch: pytest.MonkeyPatch, line: str
    ) -> None:
        """Where neither `ps` nor a shell's history shows it."""
        monkeypatch.setattr("sys.stdin", io.StringIO(line))
        assert parsed("revoke-key", "-")["prefix"] == KEY.prefix

    @pytest.mark.parametrize("line", ["", "\n", KEY.secret])
    def test_what_is_no_key_on_standard_input_is_not_echoed_either(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
    ) -> None:
        """One line says what is wanted."""
        monkeypatch.setattr("sys.stdin", io.StringIO(line))
        with pytest.raises(SystemExit):
            parsed("revoke-key", "-")
        told = capsys.readouterr().err
        assert "not a key: " in told
        assert KEY.secret not in told

    def test_limits_that_are_not_given_are_not_touched(self) -> None:
        """And the data store's own can be asked for again."""
        options = parsed("set-limits", "acme", "--max-bytes", "default")
        assert options["max_bytes"] is None
        assert "max_documents" not in options

    def test_every_role_can_be_given(self) -> None:
        """Those of the table of roles."""
        for role in Role:
            client = [] if role is Role.OPERATOR else ["acme"]
            assert parsed("create-user", *client, *USER, "--role", role)["role"] == role.value

    def test_a_mail_address_is_the_same_however_it_is_written(self) -> None:
        """Else one person would be two users."""
        options = parsed(
            "create-user", "acme", "--email", "Ada@Example.org", "--name", "A", "--role", "reader"
        )
        assert options["email"] == "ada@example.org"

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("45s", 45), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000), ("2w", 1_209_600)],
    )
    def test_a_key_can_expire_after_a_time(self, text: str, seconds: int) -> None:
        """Counted from now."""
        before = datetime.now(UTC)
        expires = parsed("issue-key", "7", "--expires-in", text)["expires_at"]
        assert isinstance(expires, datetime)
        assert before <= expires - timedelta(seconds=seconds) <= datetime.now(UTC)

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2999-01-31", datetime(2999, 1, 31, tzinfo=UTC)),
            ("2999-01-31T12:00:00Z", datetime(2999, 1, 31, 12, tzinfo=UTC)),
            ("2999-01-31T12:00:00+02:00", datetime(2999, 1, 31, 10, tzinfo=UTC)),
        ],
    )
    def test_a_key_can_expire_at_a_moment(self, text: str, moment: datetime) -> None:
        """Of UTC where it does not say."""
        assert parsed("issue-key", "7", "--expires-at", text)["expires_at"] == moment

    def test_help_names_every_command_and_the_exit_codes(self, capsys: pytest.CaptureFixture[str]) -> None:
        """And shows examples."""
        with pytest.raises(SystemExit) as stop:
            parsed("--help")
        told = capsys.readouterr().out
        assert stop.value.code == 0
        for word in (
            "create-client",
            "set-limits",
            "disable-user",
            "revoke-key",
            "examples:",
            "exit codes: 0",
        ):
            assert word in told


class TestOutput:
    """Tables for people, JSON for programs."""

    ROWS = (
        {
            "client": "acme",
            "documents": 12,
            "max_bytes": None,
            "created": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        },
        {"client": "b", "documents": 3, "max_bytes": 10, "created": None},
    )

    def test_a_table_has_numbers_to_the_right_and_a_dash_for_nothing(self) -> None:
        """Moments to the second."""
        assert table(self.ROWS).splitlines() == [
            "client  documents  max bytes  created",
            "acme           12          -  2026-01-02 03:04:05Z",
            "b               3         10  -",
        ]

    def test_no_row_is_said(self) -> None:
        """An empty answer would look like a failure."""
        assert table([]) == "none"

    def test_json_has_every_member(self) -> None:
        """Moments as the APIs have them."""
        assert json.loads(as_json(self.ROWS)) == [
            {"client": "acme", "documents": 12, "max_bytes": None, "created": "2026-01-02T03:04:05.000006Z"},
            {"client": "b", "documents": 3, "max_bytes": 10, "created": None},
        ]
