import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from workers.cli import run

COMMANDS = (
    ["demo"],
    ["analyze"],
    ["run"],
    ["submit"],
    ["watch"],
    ["doctor"],
    ["dlq"],
    ["dlq", "list"],
    ["dlq", "replay"],
    ["experiment"],
    ["data", "describe"],
    ["train"],
    ["evaluate"],
    ["config"],
    ["config", "check"],
    ["config", "schema"],
    ["config", "show"],
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ray_config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "proxy_location": "Disabled",
                "applications": [
                    {
                        "name": "hctdmg",
                        "import_path": "workers.app:build_app",
                        "args": {"kafka": {"group_id": "mine"}, "media": {"allowed_roots": ["/srv/media"]}},
                    }
                ],
            }
        )
    )
    return path


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from workers.cli import run; run(['--help']);"
        "print([name for name in ('torch', 'ray', 'cv2', 'matplotlib', 'kafka') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert output.stdout.splitlines()[-1] == "[]"


def test_the_installed_program_lists_its_commands() -> None:
    program = Path(sys.executable).parent / "hctdmg"
    output = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    for command in {command[0] for command in COMMANDS}:
        assert f" {command} " in output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    output = capsys.readouterr().out
    assert "Usage: hctdmg" in output
    assert "Example:" in output or command in (["config"], ["dlq"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["analize", "x.mp4"], "'analyze'"),
        (["analyze"], "VIDEO"),
        (["analyze", "missing.mp4"], "missing.mp4"),
        (["analyze", "--segment-s", "0", __file__], "--segment-s"),
        (["config", "check", "missing.yaml"], "missing.yaml"),
        (["config", "show", "--sett", "a.b=c"], "--sett"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert expected in line


def test_debug_shows_the_traceback_before_the_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCTDMG_DEBUG", "0")
    assert run(["--debug", "config", "check", "missing.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("error: missing.yaml")


def test_config_check_says_ok(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "check", str(config)]) == 0
    assert capsys.readouterr().out == "ok\n"
    assert run(["config", "check", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"status": "ok", "path": str(config)}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("kafka.bootstrap_server=x:1", "kafka.bootstrap_servers"),
        ("kafa.group_id=x", "kafka"),
        ("media.max_bytes=many", "media.max_bytes"),
        ("media.max_bytes=0", "media.max_bytes"),
        ("media=5", "media"),
        ("kafka.delivery=twice", "exactly_once"),
        ("nonsense", "GROUP.KEY=VALUE"),
        ("kafka.=x", "GROUP.KEY=VALUE"),
        ("media.formats=[mp4", "YAML"),
        ("kafka.group_id=${NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE"),
    ],
)
def test_config_check_names_what_is_wrong(
    config: Path, override: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "check", str(config), "--set", override]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "applications"),
        ("- a", "applications"),
        ("a: [", "YAML"),
        ("applications: []", "exactly one"),
        ("applications: [{name: x, import_path: 'other:app'}]", "exactly one"),
        ("applications: [{name: x, import_path: 'workers.app:build_app', args: 3}]", "args"),
        ("applications: [{name: x, import_path: 'workers.app:build_app', deployments: 3}]", "deployments"),
    ],
)
def test_config_check_of_a_file_that_is_no_serve_config(
    tmp_path: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ray_config.yaml"
    path.write_text(text)
    assert run(["config", "check", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert expected in line


def test_config_show_fills_in_defaults_and_applies_overrides_in_order(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [
        "--set",
        "media.allowed_roots=[/a, /b]",
        "--set",
        "flow.max_attempts=2",
        "--set",
        "flow.max_attempts=3",
    ]
    assert run(["config", "show", str(config), "--json", *overrides]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert settings["kafka"]["group_id"] == "mine"
    assert settings["kafka"]["input_topic"] == "video.segments"
    assert settings["media"]["allowed_roots"] == ["/a", "/b"]
    assert settings["flow"]["max_attempts"] == 3
    assert run(["config", "show", str(config), *overrides]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == settings


def test_config_show_hides_what_came_from_the_environment(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER", "hidden-host:9092")
    for as_json in ([], ["--json"]):
        assert (
            run(["config", "show", str(config), "--set", "kafka.bootstrap_servers=${BROKER}", *as_json]) == 0
        )
        captured = capsys.readouterr()
        assert "***" in captured.out
        assert "hidden" not in captured.out + captured.err


def test_config_schema_describes_every_setting_and_accepts_what_show_prints(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    for group in schema["$defs"].values():
        for name, setting in group["properties"].items():
            assert "description" in setting, name
    assert run(["config", "show", str(config), "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)
    jsonschema.validate(settings, schema)
    settings["kafka"]["unknown"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(settings, schema)


def test_a_closed_pipe_is_no_traceback(config: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    program = Path(sys.executable).parent / "hctdmg"
    finished = subprocess.run(
        [program, "config", "show", config], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert "Traceback" not in finished.stderr
