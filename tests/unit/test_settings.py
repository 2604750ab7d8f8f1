"""Settings: which source wins, what is refused, what is never shown."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from hotset.errors import InvalidSettings
from hotset.settings import Settings, load_settings, ollama_address


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def test_without_anything_the_defaults_hold() -> None:
    assert load_settings({}) == Settings()


def test_the_order_of_sources(folder: Path) -> None:
    write(folder / ".hotset" / "running.toml", 'tenant = "running"')
    assert load_settings({}).tenant == "running"
    write(folder / "hotset.toml", 'tenant = "file"')
    assert load_settings({}).tenant == "file"
    environ = {"HOTSET_TENANT": "environment"}
    assert load_settings(environ).tenant == "environment"
    assert load_settings(environ, tenant="command line").tenant == "command line"
    assert load_settings(environ, tenant=None).tenant == "environment"


def test_sources_are_merged_setting_by_setting(folder: Path) -> None:
    write(folder / ".hotset" / "running.toml", 'model_server = "http://r:1"\nscale = 0.5')
    write(folder / "hotset.toml", "scale = 0.25")
    settings = load_settings({"HOTSET_MAX_RETRIES": "7"})
    assert (settings.model_server, settings.scale, settings.max_retries) == ("http://r:1", 0.25, 7)


def test_weights_of_tenants_come_as_a_table_or_as_json(folder: Path) -> None:
    write(folder / "hotset.toml", "[tenant_weights]\nresearch = 2")
    assert load_settings({}).tenant_weights == {"research": 2.0}
    assert load_settings({"HOTSET_TENANT_WEIGHTS": '{"a": 0.5}'}).tenant_weights == {"a": 0.5}
    for bad in ("a=2", "[]", '{"a": 0}', '{"a": "much"}'):
        with pytest.raises(InvalidSettings, match="HOTSET_TENANT_WEIGHTS"):
            load_settings({"HOTSET_TENANT_WEIGHTS": bad})


def test_hotset_config_names_another_file(folder: Path) -> None:
    write(folder / "hotset.toml", 'tenant = "here"')
    write(folder / "other.toml", 'tenant = "other"')
    assert load_settings({"HOTSET_CONFIG": str(folder / "other.toml")}).tenant == "other"
    with pytest.raises(InvalidSettings, match=r"gone\.toml, which does not exist"):
        load_settings({"HOTSET_CONFIG": "gone.toml"})


def test_home_may_be_set_anywhere_and_its_running_file_is_read(folder: Path) -> None:
    write(folder / "elsewhere" / "running.toml", 'tenant = "elsewhere"')
    home = str(folder / "elsewhere")
    assert load_settings({"HOTSET_HOME": home}).tenant == "elsewhere"
    assert load_settings({}, home=Path(home)).tenant == "elsewhere"
    write(folder / "hotset.toml", 'home = "elsewhere"')
    settings = load_settings({})
    assert (settings.tenant, settings.home) == ("elsewhere", Path("elsewhere"))


def test_an_empty_variable_counts_as_unset(folder: Path) -> None:
    write(folder / "hotset.toml", 'tenant = "file"')
    environ = {"HOTSET_TENANT": "", "HOTSET_GPU": " ", "HOTSET_HOME": "", "HOTSET_CONFIG": "", "OLLAMA_HOST": ""}
    settings = load_settings(environ)
    assert (settings.tenant, settings.gpu, settings.home) == ("file", None, Path(".hotset"))


def test_other_variables_are_left_alone() -> None:
    assert load_settings({"HOTSET_TEST_POSTGRES": "x", "PATH": "/bin", "hotset_tenant": "x"}) == Settings()


@pytest.mark.parametrize(
    ("environ", "hint"),
    [({"HOTSET_TENNANT": "x"}, "'HOTSET_TENANT'"), ({"HOTSET_MAXRETRIES": "x"}, "'HOTSET_MAX_RETRIES'")],
)
def test_an_unknown_variable_gets_a_hint(environ: dict[str, str], hint: str) -> None:
    with pytest.raises(InvalidSettings, match=rf"environment: there is no setting 'HOTSET_.*{hint}"):
        load_settings(environ)


@pytest.mark.parametrize("file", ["hotset.toml", ".hotset/running.toml"])
def test_an_unknown_name_in_a_file_gets_a_hint(folder: Path, file: str) -> None:
    write(folder / file, "max_retry = 3")
    with pytest.raises(InvalidSettings, match=rf"{file}: there is no setting 'max_retry'.*'max_retries'"):
        load_settings({})


def test_a_name_that_is_near_to_none_gets_the_command_that_lists_them(folder: Path) -> None:
    write(folder / "hotset.toml", "[[xyzzy]]")
    with pytest.raises(InvalidSettings, match="hotset config"):
        load_settings({})


def test_an_unknown_override_gets_a_hint() -> None:
    with pytest.raises(InvalidSettings, match=r"command line: there is no setting 'tennant'.*'tenant'"):
        load_settings({}, tennant="x")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('scale = "fast"', "scale"),
        ("scale = [1]", "scale"),
        ("max_retries = 1.5", "max_retries"),
        ("tenant = 5", "tenant"),
        ("home = 5", "home"),
        ("home = []", "home"),
        ("fleet = 5", "fleet"),
        ("database_url = 5", "database_url"),
        ("scale = 0", "scale"),
        ("scale = -1.0", "scale"),
        ("scale = nan", "scale"),
        ("scale = inf", "scale"),
        ("lease_s = 0", "lease_s"),
        ("heartbeat_s = -3", "heartbeat_s"),
        ("max_retries = -1", "max_retries"),
        ("retry_backoff_s = 0", "retry_backoff_s"),
        ("max_crashes = 0", "max_crashes"),
        ("max_prompt_chars = 0", "max_prompt_chars"),
        ("first_token_timeout_s = 0", "first_token_timeout_s"),
        ("stall_timeout_s = 0", "stall_timeout_s"),
        ("load_timeout_s = 0", "load_timeout_s"),
        ("submit_chunk = 0", "submit_chunk"),
        ("relay_after_s = 0", "relay_after_s"),
        ("[tenant]\nname = 1", "tenant"),
    ],
)
def test_a_wrong_value_names_source_and_setting(folder: Path, line: str, name: str) -> None:
    write(folder / "hotset.toml", line)
    with pytest.raises(InvalidSettings, match=rf"^hotset\.toml: {name}: "):
        load_settings({})


def test_a_wrong_value_of_the_environment_names_its_variable() -> None:
    with pytest.raises(InvalidSettings, match=r"^environment: HOTSET_SCALE: "):
        load_settings({"HOTSET_SCALE": "fast"})


def test_a_file_that_is_not_toml(folder: Path) -> None:
    write(folder / "hotset.toml", "tenant = ")
    with pytest.raises(InvalidSettings, match=r"^hotset\.toml: Invalid value .*Mend"):
        load_settings({})


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    (folder / "hotset.toml").mkdir()
    with pytest.raises(InvalidSettings, match=r"^hotset\.toml: "):
        load_settings({})


def test_a_file_that_is_not_utf_8(folder: Path) -> None:
    (folder / "hotset.toml").write_bytes(b'tenant = "\xff"')
    with pytest.raises(InvalidSettings, match=r"^hotset\.toml: "):
        load_settings({})


def test_secrets_are_never_shown() -> None:
    urls = {f"HOTSET_{n}_URL": f"redis://:hunter2@{n}:1/0" for n in ("DATABASE", "BROKER", "CACHE")}
    settings = load_settings(urls)
    for text in (repr(settings), str(settings), f"{settings}"):
        assert "hunter2" not in text
    assert settings.broker_url.get_secret_value() == "redis://:hunter2@BROKER:1/0"


def test_the_secrets_of_a_refused_file_are_not_shown(folder: Path) -> None:
    write(folder / "hotset.toml", 'database_url = ["postgresql://u:hunter2@h/d"]')
    with pytest.raises(InvalidSettings) as caught:
        load_settings({})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_lease_outlives_its_heartbeat() -> None:
    with pytest.raises(InvalidSettings, match=r"heartbeat_s \(3\) is not less than lease_s \(3\)"):
        load_settings({}, lease_s=3.0)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().tenant = "x"  # type: ignore[misc]


def test_every_setting_has_a_default() -> None:
    assert {f.name for f in fields(Settings)} >= {"home", "fleet", "agents", "objective"}
    Settings()


# OLLAMA_HOST: forms as Ollama's own client reads them (envconfig.Host)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("gpu1", "http://gpu1:11434"),
        ("gpu1:8080", "http://gpu1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("10.0.0.1", "http://10.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://gpu1:8080", "http://gpu1:8080"),
        ("http://gpu1:8080/", "http://gpu1:8080"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("https://gpu.example", "https://gpu.example"),
        ("https://gpu.example/ollama/", "https://gpu.example/ollama"),
        ("gpu.example/ollama", "http://gpu.example:11434/ollama"),
        ("  gpu1:8080 \n", "http://gpu1:8080"),
        ('"gpu1:8080"', "http://gpu1:8080"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("::1", "http://[::1]:11434"),
        ("[::]:8080", "http://[::1]:8080"),
        ("gpu1:", "http://gpu1:11434"),
    ],
)
def test_ollama_host(host: str, address: str) -> None:
    assert ollama_address(host) == address
    assert load_settings({"OLLAMA_HOST": host}).model_server == address


@pytest.mark.parametrize("host", ["gpu1:abc", "gpu1:99999", "http://gpu1:abc", "ftp://gpu1", "[::1"])
def test_an_ollama_host_that_is_no_address(host: str) -> None:
    with pytest.raises(InvalidSettings, match="OLLAMA_HOST"):
        load_settings({"OLLAMA_HOST": host})


def test_hotset_s_own_setting_wins_over_ollama_host(folder: Path) -> None:
    environ = {"OLLAMA_HOST": "gpu1"}
    assert load_settings(environ | {"HOTSET_MODEL_SERVER": "http://gpu2:1"}).model_server == "http://gpu2:1"
    write(folder / ".hotset" / "running.toml", 'model_server = "http://gpu3:1"')
    assert load_settings(environ).model_server == "http://gpu3:1"
    # A bad one that nobody uses breaks nothing.
    assert load_settings({"OLLAMA_HOST": "gpu1:abc"}).model_server == "http://gpu3:1"
