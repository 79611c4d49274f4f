"""What a user may set, where it comes from, and what is said when it cannot be used."""

from pathlib import Path

import pytest

from apex_fast.core import machine_limits
from apex_fast.settings import SECTIONS, LimitSettings, Secret, Settings, SettingsError, secret_of

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "apex.toml"


def test_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.load(None, {"HOME": "/", "PATH": ""})
    assert settings.server.host == "127.0.0.1"
    assert settings.server.port == 7400
    assert all(line.origin == "default" for line in settings.describe())


def test_a_later_source_wins_and_is_named(file: Path) -> None:
    file.write_text('[server]\nport = 1\nhost = "::1"\nbody_bytes_max = 2048\n[http]\nallow_hosts = ["a:1"]\n')
    environ = {"APEX_SERVER_PORT": "2", "APEX_SERVER_HOST": "127.0.0.2", "APEX_FUNCTIONS_TIMEOUT_S": "1.5"}
    settings = Settings.load(file, environ, {"server.port": 3})
    assert (settings.server.port, settings.server.host, settings.server.body_bytes_max) == (
        3,
        "127.0.0.2",
        2048,
    )
    assert settings.functions.timeout_s == 1.5
    assert settings.http.allow_hosts == ("a:1",)
    origins = {line.key: line.origin for line in settings.describe()}
    assert origins["server.port"] == "command line"
    assert origins["server.host"] == "APEX_SERVER_HOST"
    assert origins["server.body_bytes_max"] == str(file)
    assert origins["log.segment_bytes"] == "default"


def test_the_file_of_the_working_directory_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[engine]\npartitions = 4\n")
    monkeypatch.chdir(file.parent)
    assert Settings.load(None, {}).engine.partitions == 4


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_a_flag_in_a_variable(text: str, expected: bool, file: Path) -> None:
    file.write_text("")
    assert Settings.load(file, {"APEX_SERVER_INSECURE": text}).server.insecure is expected


def test_a_table_in_a_file_and_in_a_variable(file: Path) -> None:
    file.write_text('[optimizer]\npolicy = "suggest"\n[optimizer.workflows]\norders = "apply"\n')
    found = Settings.load(file, {}).optimizer
    policies = [found.policy_of(name) for name in ("orders", "other")]
    assert (policies, found.names("apply")) == (["apply", "suggest"], True)
    settings = Settings.load(file, {"APEX_OPTIMIZER_WORKFLOWS": "a=apply, b = off"})
    assert settings.optimizer.workflows == {"a": "apply", "b": "off"}
    assert "a=apply, b=off" in [one.value for one in settings.describe()]
    with pytest.raises(SettingsError, match="APEX_OPTIMIZER_WORKFLOWS"):
        Settings.load(file, {"APEX_OPTIMIZER_WORKFLOWS": "a=sometimes"})


def test_a_list_in_a_variable_is_comma_separated(file: Path) -> None:
    file.write_text("")
    settings = Settings.load(file, {"APEX_HTTP_ALLOW_HOSTS": "127.0.0.1:8080, *.internal,"})
    assert settings.http.allow_hosts == ("127.0.0.1:8080", "*.internal")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("[server]\nprot = 1\n", "unknown key server.prot (did you mean port?)"),
        ("[sever]\nport = 1\n", "unknown section [sever] (did you mean server?)"),
        ("server = 1\n", "server is a section"),
        ('[server]\nport = "1"\n', "server.port: Expected `int`, got `str`"),
        ("[server]\nport = 70000\n", "server.port: Expected `int` <= 65535"),
        ("[functions]\nthreads = 0\n", "functions.threads: Expected `int` >= 1"),
        ("[functions]\nstall_timeout_s = 0\n", "functions.stall_timeout_s: Expected `float` > 0"),
        ("[server\n", "not valid TOML"),
        ('[planner]\napi_key = "sk-abc"\n', "is a secret and does not belong in this file"),
        ('[telemetry]\nlog_level = "loud"\n', "telemetry.log_level"),
    ],
)
def test_a_bad_file_names_file_and_key(document: str, says: str, file: Path) -> None:
    file.write_text(document)
    with pytest.raises(SettingsError) as caught:
        Settings.load(file, {})
    assert str(file) in str(caught.value)
    assert says in str(caught.value)
    assert "sk-abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("APEX_SERVER_PORT", "many", "APEX_SERVER_PORT: Expected `int`, got `str`"),
        ("APEX_SERVER_PRT", "1", "APEX_SERVER_PRT: no such setting (did you mean APEX_SERVER_PORT?)"),
        ("APEX_SERVER_INSECURE", "maybe", "APEX_SERVER_INSECURE: Expected `bool`"),
        ("APEX_FUNCTIONS_TIMEOUT_S", "nan s", "APEX_FUNCTIONS_TIMEOUT_S"),
        ("APEX_SERVER_GRACE_S", "inf", "APEX_SERVER_GRACE_S: Expected a finite number"),
        ("APEX_SERVER_GRACE_S", "nan", "APEX_SERVER_GRACE_S: Expected"),
    ],
)
def test_a_bad_variable_is_named(variable: str, value: str, says: str, file: Path) -> None:
    file.write_text("")
    with pytest.raises(SettingsError, match=r"^APEX_") as caught:
        Settings.load(file, {variable: value})
    assert says in str(caught.value)


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        Settings.load(tmp_path / "none.toml", {})
    with pytest.raises(SettingsError, match="Is a directory"):
        Settings.load(tmp_path, {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        Settings.load(tmp_path / "binary.toml", {})


def test_a_bad_override_is_named(file: Path) -> None:
    file.write_text("")
    with pytest.raises(SettingsError, match=r"command line: server\.port"):
        Settings.load(file, {}, {"server.port": -1})


def test_a_secret_never_shows_itself(file: Path, tmp_path: Path) -> None:
    file.write_text('[planner]\napi_base = "https://me:pass@host/v1"\n')
    settings = Settings.load(file, {"APEX_PLANNER_API_KEY": "sk-123"})
    assert settings.planner_key().reveal() == "sk-123"
    shown = f"{settings!r} {settings.planner.api_key} {settings.planner_key()!r} {[settings.planner.api_key]}"
    assert "sk-123" not in shown
    described = {line.key: line.value for line in settings.describe()}
    assert described["planner.api_key"] == "***"
    assert described["planner.api_base"] == "https://***@host/v1"
    key_file = tmp_path / "key"
    key_file.write_text("sk-456\n")
    named = Settings.load(file, {"APEX_PLANNER_API_KEY_FILE": str(key_file)})
    assert named.planner_key().reveal() == "sk-456"
    missing = Settings.load(file, {"APEX_PLANNER_API_KEY_FILE": str(tmp_path / "no")})
    with pytest.raises(SettingsError, match=r"planner\.api_key_file"):
        missing.planner_key()


def test_secrets_of_nodes_come_from_variables(file: Path) -> None:
    file.write_text("")
    environ = {"APEX_SECRET_MAIL_TOKEN": "t"}
    Settings.load(file, environ)
    assert secret_of(environ, "mail-token") == Secret("t")
    assert secret_of(environ, "other") is None


def test_every_setting_is_in_the_reference_with_its_default() -> None:
    rows = {
        cells[1].strip().strip("`"): cells[2].strip().strip("`")
        for cells in (line.split("|") for line in REFERENCE.read_text().splitlines() if line.startswith("| `"))
    }
    described = Settings().describe()
    assert {line.key: line.value for line in described} == {key: value for key, value in rows.items() if "." in key}
    assert all(line.description for line in described)
    assert set(SECTIONS) == {line.key.partition(".")[0] for line in described}


def test_limits_are_those_of_the_machine() -> None:
    machine = machine_limits()
    assert LimitSettings().table() == {name: machine[name] for name in LimitSettings().table()}
    assert LimitSettings(idempotency_ttl_s=1.5).table()["idempotency_ttl_ns"] == 1_500_000_000
