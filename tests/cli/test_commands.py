"""The command line as a whole: exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults import FaultyHub, Request
from tests.support.faults_process import Done, command, environment, provision
from tests.support.hub_fixture import make
from tests.support.locks import document, small, snapshot, tree, write
from tests.support.patience import PATIENCE
from tests.support.stores import DirectoryBackend, files_below, findings, transfer

TOKEN = "hf_secretsecretsecretsecretsecret"
RELEASE = tree(small()).release_id


@pytest.fixture
def hub() -> Iterator[FaultyHub]:
    with FaultyHub(small()) as hub:
        yield hub


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a lock."""
    write(tmp_path, small())
    return tmp_path


def fetch(place: Path, hub: FaultyHub, *more: object, **variables: str) -> Done:
    return provision("fetch", "--store", place / "store", *more, cwd=place, HF_ENDPOINT=hub.url, **variables)


def assert_sentence(done: Done, code: int, *words: str) -> None:
    """An error as people get it: one sentence and a hint, no traceback, nothing on stdout."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    for word in words:
        assert word in done.err


# The whole path


def test_fetch_mirror_verify_status_env(place: Path, hub: FaultyHub) -> None:
    assert fetch(place, hub).code == 0
    at = ("--at", place / "volume")
    assert provision("mirror", "--to", place / "volume", "--store", place / "store", cwd=place).code == 0
    verify = provision("verify", *at, cwd=place)
    assert verify.code == 0
    assert verify.out.startswith(f"OK  {RELEASE} in {place / 'volume'}")
    assert "evidence: rehashed" in verify.out
    assert provision("status", *at, "--check", cwd=place).code == 0
    variables = provision("env", *at, "--format", "json", cwd=place)
    assert json.loads(variables.out)["HF_HUB_CACHE"] == f"{place}/volume/releases/{RELEASE}/hub"
    assert findings(DirectoryBackend(place / "volume").open(), RELEASE) == {}


def test_the_mirror_takes_from_the_local_store_and_not_from_the_hub(place: Path, hub: FaultyHub) -> None:
    fetch(place, hub)
    sent = hub.sent()
    done = provision("mirror", "--to", place / "b", "--store", place / "store", "--json", cwd=place)
    assert done.json["origins"] == {str(place / "store"): [3, sum(map(len, small().content.values()))]}
    assert hub.sent() == sent


def test_a_second_fetch_says_that_there_is_nothing_to_do(place: Path, hub: FaultyHub) -> None:
    fetch(place, hub)
    asked = len(hub.requests)
    done = fetch(place, hub)
    assert done.code == 0
    assert done.out.startswith("Nothing to do")
    assert len(hub.requests) == asked


def test_a_dry_run_moves_and_publishes_nothing(place: Path, hub: FaultyHub) -> None:
    done = fetch(place, hub, "--dry-run", "--json")
    assert done.code == 0
    total = sum(map(len, small().content.values()))
    assert (done.json["bytes_to_move"], done.json["files_to_move"]) == (total, 3)
    assert done.json["bytes_free"] > 0
    assert hub.requests == []
    assert files_below(place / "store") == {}
    assert not (place / "store" / "current").exists()


def test_without_activation_readers_keep_what_they_have(place: Path, hub: FaultyHub) -> None:
    done = fetch(place, hub, "--no-activate", "--json")
    assert done.json["active"] is False
    assert DirectoryBackend(place / "store").open().active() is None
    done = provision("releases", "activate", RELEASE, "--store", place / "store", cwd=place)
    assert done.code == 0
    assert DirectoryBackend(place / "store").open().active() == RELEASE


def test_rollback_and_prune(place: Path) -> None:
    backend, releases = DirectoryBackend(place / "store"), []
    from tests.support.locks import MemorySource

    for number in range(4):
        made = small(tokenizer=b"%d" % number)
        releases.append(transfer(document(made), backend.open(), MemorySource(made)).report.release)
        os.utime(backend.path(releases[-1]), (number, number))
    at = ("--at", backend.root)
    provision("releases", "activate", releases[3], *at, cwd=place)
    back = provision("releases", "activate", releases[0], *at, "--json", cwd=place)
    assert back.json == {"store": str(backend.root), "active": releases[0], "before": releases[3]}
    listed = provision("releases", "list", *at, "--json", cwd=place).json
    assert [one["release"] for one in listed] == releases[::-1]
    assert [one["release"] for one in listed if one["active"]] == [releases[0]]
    dry = provision("releases", "prune", "--keep", 1, "--dry-run", *at, "--json", cwd=place)
    assert sorted(dry.json["releases"]) == sorted(releases[1:3])
    assert set(backend.open().releases()) == set(releases)
    done = provision("releases", "prune", "--keep", 1, *at, "--json", cwd=place)
    assert done.json["bytes"] > 0
    assert set(backend.open().releases()) == {releases[0], releases[3]}
    assert provision("releases", "prune", "--keep", 0, *at, cwd=place).code == 2


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_repair_mends_what_verify_found(place: Path, hub: FaultyHub, damage: str) -> None:
    fetch(place, hub)
    backend, path = DirectoryBackend(place / "store"), snapshot(small(), "model.safetensors")
    if damage == "flipped":
        backend.overwrite(RELEASE, path, b"\1" + small().content["model.safetensors"][1:])
    else:
        backend.delete(RELEASE, path)
    found = provision("verify", "--store", backend.root, "--json", cwd=place)
    kind = {"flipped": "digest", "missing": "missing"}[damage]
    assert (found.code, found.json["ok"]) == (3, False)
    assert [(one["kind"], one["path"]) for one in found.json["findings"]] == [(kind, path)]
    sent = hub.sent()
    done = fetch(place, hub, "--repair")
    assert done.code == 0, done.err
    assert "is damaged and is made anew" in done.err
    assert hub.sent() - sent == len(small().content["model.safetensors"])
    assert provision("verify", "--store", backend.root, cwd=place).code == 0


# Exit codes


def test_usage_is_2(place: Path) -> None:
    for arguments in (
        ["fetch", "--nonsense"],
        ["nonsense"],
        ["mirror"],
        ["fetch", "--mode", "0999"],
        ["fetch", "extra"],
    ):
        done = provision(*arguments, cwd=place)
        assert done.code == 2, arguments
        assert done.out == ""
    assert provision("mirror", "--to", "s4://bucket", cwd=place).code == 2
    assert provision("mirror", "--to", "", cwd=place).code == 2
    assert provision("mirror", "--to", "file://host/path", cwd=place).code == 2


def test_verification_failed_is_3(place: Path, hub: FaultyHub) -> None:
    hub.fault(r"tokenizer\.json", lambda request: request.answer(200, b"x" * len(request.data or b"")))
    done = fetch(place, hub)
    assert done.code == 3
    assert done.out == ""
    assert "tokenizer.json are not the locked ones" in done.err
    assert not list((place / "store" / "releases").iterdir())


def test_a_damaged_release_is_3_until_it_is_mended(place: Path, hub: FaultyHub) -> None:
    fetch(place, hub)
    DirectoryBackend(place / "store").delete(RELEASE, snapshot(small(), "config.json"))
    assert_sentence(fetch(place, hub), 3, "config.json", "--repair")
    assert provision("status", "--store", place / "store", "--check", cwd=place).code == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 2\n", ["version: 2 is not known"]),
        (
            "version = 1\n[[models]]\nrepo = 'a/../b'\n",
            ["models[0].repo", "models[0].commit: missing", "models[0].files"],
        ),
        ("not toml", ["not TOML"]),
    ],
)
def test_a_lock_that_is_none_is_4(place: Path, text: str, words: list[str]) -> None:
    (place / "models.lock").write_text(text)
    for name in ("fetch", "status"):
        assert_sentence(provision(name, "--store", place / "store", cwd=place), 4, *words)
    assert not (place / "store").exists()


def test_what_the_policy_refuses_is_4(place: Path) -> None:
    write(place, make("org/pickled", {"config.json": b"{}", "pytorch_model.bin": b"x", "tokenizer.json": b"{}"}))
    assert_sentence(provision("fetch", "--store", place / "store", cwd=place), 4, "pytorch_model.bin", "pickle")


def test_a_hub_that_does_not_answer_is_5(place: Path, hub: FaultyHub) -> None:
    hub.fault(".*", lambda request: request.answer(418))
    assert_sentence_with_progress(fetch(place, hub), 5, "answers 418")


def test_denied_is_6(place: Path, hub: FaultyHub) -> None:
    hub.fault(".*", lambda request: request.answer(403, x_error_code="GatedRepo"))
    assert_sentence_with_progress(fetch(place, hub), 6, "gated", "HF_TOKEN")


def test_not_found_is_7(place: Path, hub: FaultyHub) -> None:
    hub.fault(".*", lambda request: request.answer(404))
    assert_sentence_with_progress(fetch(place, hub), 7, "at the locked commit")
    assert_sentence(provision("fetch", "--lock", "no.lock", cwd=place), 7, "no.lock", "provision lock add")
    assert_sentence(provision("verify", "--at", place / "none", cwd=place), 7, "none")
    assert_sentence(provision("mirror", "--to", "pvc", cwd=place, PROVISION_PVC_DIR="/no/volume"), 7, "/no/volume")
    assert_sentence(provision("--config", "no.toml", "fetch", cwd=place), 7, "no.toml")


def test_a_store_that_cannot_be_one_is_8(place: Path, hub: FaultyHub) -> None:
    (place / "store").mkdir()
    (place / "store" / "staging").write_text("a file where a folder belongs")
    done = fetch(place, hub)
    assert done.code in (7, 8)
    assert "Traceback" not in done.err
    assert hub.requests == []


def assert_sentence_with_progress(done: Done, code: int, *words: str) -> None:
    assert done.code == code, done.err
    last = done.err[done.err.index("provision: ") :]
    assert "Traceback" not in done.err
    assert done.out == ""
    for word in words:
        assert word in last


# Secrets


def test_the_token_appears_nowhere(place: Path, hub: FaultyHub) -> None:
    hub.fault(r"tokenizer\.json", Request.honest, times=1)
    done = fetch(place, hub, "-vv", HF_TOKEN=TOKEN)
    assert done.code == 0
    # huggingface_hub asks for /api/agent-harnesses on its own, without a token.
    ours = [request for request in hub.requests if request.data is not None]
    assert [request.headers["authorization"] for request in ours] == [f"Bearer {TOKEN}"] * 3
    hub.fault(r"tokenizer\.json", lambda request: request.answer(401))
    failed = provision(
        "fetch", "--store", place / "other", "-vv", "--json", cwd=place, HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN
    )
    assert failed.code == 6
    for text in (done.out, done.err, failed.out, failed.err):
        assert TOKEN not in text
    for path in (*files_below(place / "store"), *files_below(place / "other")):
        file = place / "store" / path if (place / "store" / path).exists() else place / "other" / path
        assert TOKEN.encode() not in file.read_bytes()


def test_the_log_of_no_http_library_is_shown(place: Path) -> None:
    """Their debug lines hold URLs with signatures."""
    script = (
        "import logging\n"
        "from provisioner.cli.main import cli\n"
        "cli.main(['lock', 'list', '-vv', '-q'], standalone_mode=False, obj={})\n"
        "names = ('urllib3', 'httpx', 'httpx2', 'httpcore', 'httpcore2', 'huggingface_hub')\n"
        "print('levels', {logging.getLogger(name).getEffectiveLevel() for name in names}, logging.root.level)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=place, env=environment(), capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "levels {30} 10", done.stderr


# Output


def test_json_is_one_document_on_stdout_and_lines_on_stderr(place: Path, hub: FaultyHub) -> None:
    hub.fault(r"config\.json", lambda request: request.answer(503, retry_after="0"), times=1)
    done = fetch(place, hub, "--json")
    assert done.json["release"] == RELEASE
    assert done.json["moved"] == sum(map(len, small().content.values()))
    assert {event["event"] for event in done.events} >= {"started", "file_done", "retrying", "finished"}
    for arguments in (["verify"], ["status"], ["releases", "list"]):
        found = provision(*arguments, "--json", "--store", place / "store", cwd=place)
        assert found.json is not None
        assert all("event" in event for event in found.events)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["fetch", "--lock", "no.lock"], 7), (["fetch", "--nonsense"], 2), (["mirror"], 2)]
)
def test_errors_are_json_too(place: Path, arguments: list[str], code: int) -> None:
    done = provision(*arguments, "--json", cwd=place)
    (event,) = done.events
    assert (done.code, done.out) == (code, "")
    assert (event["event"], event["exit_code"], event["retryable"]) == ("error", code, False)
    assert event["message"]


def test_every_problem_of_a_lock_is_in_the_json(place: Path) -> None:
    (place / "models.lock").write_text("version = 1\nextra = 1\n[[models]]\nrepo = 'a/b'\nlayouts = ['none']\n")
    (event,) = provision("fetch", "--json", cwd=place).events
    places = {problem["place"] for problem in event["problems"]}
    assert {"extra", "models[0].layouts[0]", "models[0].commit", "models[0].files"} <= places


def test_quiet_says_nothing_on_stderr(place: Path, hub: FaultyHub) -> None:
    done = fetch(place, hub, "--quiet")
    assert (done.code, done.err) == (0, "")
    assert RELEASE in done.out
    for arguments in (["verify"], ["status"], ["releases", "list"]):
        assert provision(*arguments, "-q", "--store", place / "store", cwd=place).err == ""


def test_a_log_gets_one_line_per_event(place: Path, hub: FaultyHub) -> None:
    done = fetch(place, hub)
    lines = done.err.splitlines()
    assert lines[0].startswith("fetch: ")
    assert sum("moved" in line and f"from {hub.url}" in line for line in lines) == 3
    assert "\x1b" not in done.err + done.out


def test_a_reader_that_goes_away_is_no_traceback(place: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = command("lock", "list", "--json")
    try:
        done = subprocess.run(
            words, cwd=place, env=environment(), stdout=writer, stderr=subprocess.PIPE, text=True, timeout=PATIENCE
        )
    finally:
        os.close(writer)
    assert "Traceback" not in done.stderr
    assert done.returncode == 141


# The strength of settings: command line, environment, provision.toml


def test_a_flag_is_stronger_than_the_environment_and_that_than_the_file(place: Path, hub: FaultyHub) -> None:
    (place / "provision.toml").write_text(f'store = "{place}/from-file"\nendpoint = "{hub.url}"\n')
    by_file = provision("fetch", "--json", cwd=place)
    assert by_file.json["store"] == f"{place}/from-file"
    by_env = provision("fetch", "--json", cwd=place, PROVISION_STORE=f"{place}/from-env")
    assert by_env.json["store"] == f"{place}/from-env"
    by_flag = provision(
        "fetch", "--json", "--store", place / "from-flag", cwd=place, PROVISION_STORE=f"{place}/from-env"
    )
    assert by_flag.json["store"] == f"{place}/from-flag"


def test_the_tables_of_commands_are_stronger_than_the_top(place: Path, hub: FaultyHub) -> None:
    (place / "provision.toml").write_text(
        f'store = "{place}/top"\nendpoint = "{hub.url}"\n'
        f'[fetch]\nstore = "{place}/table"\nmode = "0640"\ndir-mode = "0750"\n'
    )
    done = provision("fetch", "--json", cwd=place)
    assert done.json["store"] == f"{place}/table"
    file = place / "table" / "releases" / RELEASE / "models.lock"
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.parent.stat().st_mode & 0o777 == 0o750
    assert_sentence(provision("status", cwd=place), 7, f"{place}/top")


@pytest.mark.parametrize("setting", ["mode = 644", 'mode = "0044"', 'dir-mode = "0555"', 'mode = "rw"'])
def test_a_mode_that_means_something_else_is_refused(place: Path, hub: FaultyHub, setting: str) -> None:
    (place / "provision.toml").write_text(f'endpoint = "{hub.url}"\n[fetch]\n{setting}\n')
    done = provision("fetch", "--store", place / "store", cwd=place)
    assert_sentence(done, 4, "provision.toml", f"fetch.{setting.partition(' ')[0]}: ")
    assert not (place / "store").exists()


def test_subcommands_have_tables_too(place: Path, hub: FaultyHub) -> None:
    fetch(place, hub)
    (place / "provision.toml").write_text(f'[releases.list]\nat = "{place}/store"\n[releases.prune]\nkeep = 3\n')
    assert provision("releases", "list", "--json", cwd=place).json[0]["release"] == RELEASE
    done = provision("releases", "prune", "--store", place / "store", "--json", cwd=place)
    assert (done.code, done.json["releases"]) == (0, [])


def test_options_are_named_in_the_file_and_the_environment_as_on_the_command_line(place: Path, hub: FaultyHub) -> None:
    """`--from` and `--json` have other names in Python, and nobody needs to know them."""
    fetch(place, hub)
    (place / "provision.toml").write_text(f'[mirror]\nfrom = ["{place}/store"]\njson = true\n')
    done = provision("mirror", "--to", place / "by-file", cwd=place)
    assert done.json["origins"].keys() == {f"{place}/store"}
    (place / "provision.toml").unlink()
    variables = {"PROVISION_MIRROR_FROM": f"{place}/store", "PROVISION_MIRROR_JSON": "1"}
    done = provision("mirror", "--to", place / "by-env", cwd=place, **variables)
    assert done.json["origins"].keys() == {f"{place}/store"}
    failed = provision("mirror", "--to", "pvc", cwd=place, PROVISION_PVC_DIR="/none", **variables)
    assert failed.events[0]["exit_code"] == 7


def test_options_of_subcommands_come_from_the_environment(place: Path, hub: FaultyHub) -> None:
    fetch(place, hub)
    done = provision(
        "releases", "list", cwd=place, PROVISION_RELEASES_LIST_AT=str(place / "store"), PROVISION_RELEASES_LIST_JSON="1"
    )
    assert done.json[0]["release"] == RELEASE
    done = provision("env", cwd=place, PROVISION_STORE=str(place / "store"), PROVISION_ENV_FORMAT="json")
    assert done.json["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[fetch]\nstoer = 'x'\n", "fetch.stoer: unknown key"),
        ("[fetch]\nas_json = true\n", "fetch.as_json: unknown key"),
        ("[fetsch]\nstore = 'x'\n", "fetsch: unknown key"),
        ("jobs = 3\n", "jobs: unknown key"),
        ("[releases.lst]\nat = 'x'\n", "releases.lst: unknown key"),
        ("fetch = 1\n", "fetch: not a table"),
        ("[fetch\n", "not TOML"),
    ],
)
def test_a_settings_file_with_a_mistake_is_4(place: Path, text: str, where: str) -> None:
    (place / "provision.toml").write_text(text)
    name = "releases" if "releases" in text else "fetch"
    done = provision(name, *(["list"] if name == "releases" else []), "--store", place / "store", cwd=place)
    assert_sentence(done, 4, "provision.toml", where)


def test_help_works_with_any_settings(place: Path) -> None:
    (place / "provision.toml").write_text("[fetch\n")
    assert provision("--help", cwd=place).code == 0


def test_a_wrong_value_in_the_file_is_refused(place: Path) -> None:
    for value in ("'many'", "true", "3.7", "1000", "[3]", "0x" + "f" * 6000, "9" * 5000):
        (place / "provision.toml").write_text(f"[fetch]\njobs = {value}\n")
        where = "not TOML" if value == "9" * 5000 else "fetch.jobs: "
        assert_sentence(provision("fetch", cwd=place), 4, "provision.toml", where)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("lock = 5\n", "lock: not a string"),
        ("[defaults]\nstore = 5\n", "defaults.store: not a string"),
        ("[defaults]\njobs = 3\n", "defaults.jobs: unknown key"),
        ("defaults = 3\n", "defaults: not a table"),
        ("store = 'a'\n[defaults]\nstore = 'b'\n", "defaults.store: stands at the top too"),
        ("[fetch]\nstore = 5\n", "fetch.store: not a string"),
        ("[fetch]\nactivate = 'perhaps'\n", "fetch.activate: not true or false"),
        ("[mirror]\nfrom = 'hub'\n", "mirror.from: not an array"),
        ("[verify]\nmode = 'half'\n", "verify.mode: 'half' is not one of"),
        ("[lock.add]\nlayouts = 'flat'\n", "lock.add.layout"),
    ],
)
def test_every_value_of_the_file_is_checked_whatever_command_runs(place: Path, text: str, where: str) -> None:
    (place / "provision.toml").write_text(text)
    assert_sentence(provision("fetch", cwd=place), 4, "provision.toml", where)


def test_shared_defaults_can_stand_beside_the_tables_of_lock(place: Path, hub: FaultyHub) -> None:
    (place / "models.lock").rename(place / "other.lock")
    (place / "provision.toml").write_text(
        f'[defaults]\nlock = "other.lock"\nstore = "{place}/held"\nendpoint = "{hub.url}"\n'
        '[lock.add]\nlayout = ["flat"]\n'
    )
    assert provision("fetch", "--json", cwd=place).json["store"] == f"{place}/held"
    assert provision("lock", "check", cwd=place).code == 0


def test_the_variable_of_one_command_is_stronger_than_that_of_all(place: Path, hub: FaultyHub) -> None:
    variables = {
        "PROVISION_STORE": f"{place}/all",
        "PROVISION_FETCH_STORE": f"{place}/one",
        "HF_ENDPOINT": "http://127.0.0.1:1",
        "PROVISION_ENDPOINT": "http://127.0.0.1:2",
        "PROVISION_FETCH_ENDPOINT": hub.url,
        "PROVISION_LOCK": "none.lock",
        "PROVISION_FETCH_LOCK": "models.lock",
    }
    assert provision("fetch", "--json", cwd=place, **variables).json["store"] == f"{place}/one"
    del variables["PROVISION_FETCH_STORE"], variables["PROVISION_FETCH_ENDPOINT"]
    variables["PROVISION_ENDPOINT"] = hub.url
    assert provision("fetch", "--json", cwd=place, **variables).json["store"] == f"{place}/all"


def test_without_a_home_the_store_has_to_be_named(place: Path) -> None:
    script = (
        "import os, pwd, sys\n"
        "os.environ.pop('HOME')\n"
        "def nobody(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "from provisioner.cli.main import main\n"
        "sys.argv[0] = 'provision'\n"
        "main()\n"
    )

    def run(*words: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=place, env=environment(), capture_output=True, text=True
        )
        return Done(done.returncode, done.stdout, done.stderr)

    for name in ("fetch", "status", "verify"):
        assert_sentence(run(name), 2, "--store")
    assert not (place / "~").exists()
    assert_sentence(run("verify", "--at", str(place / "none")), 7, "none")
    assert_sentence(run("mirror", "--to", str(place / "b"), "--from", str(place / "none")), 7, "none")


def test_where_no_store_is_there_is_nothing_to_list_or_prune(place: Path) -> None:
    (place / "empty").mkdir()
    for at in (place / "none", place / "empty"):
        for words in (["releases", "list"], ["releases", "prune", "--keep", "1"], ["status"]):
            assert_sentence(provision(*words, "--at", at, cwd=place), 7, f"no store at {at}")
    assert not (place / "none").exists()
    assert list((place / "empty").iterdir()) == []


def test_a_lock_without_models_moves_nothing(place: Path) -> None:
    (place / "models.lock").write_text("version = 1\n")
    assert_sentence(provision("fetch", "--store", place / "store", cwd=place), 4, "models", "provision lock add")
    assert not (place / "store").exists()
    assert provision("lock", "list", cwd=place).code == 0
    assert provision("lock", "check", cwd=place).code == 0


@pytest.mark.parametrize("endpoint", ["http://host:99999", "http://[bad", "http://user:secret@[bad/x?token=secret"])
def test_an_endpoint_that_is_no_url_is_2(place: Path, endpoint: str) -> None:
    done = provision("fetch", "--endpoint", endpoint, "--store", place / "store", cwd=place)
    assert_sentence(done, 2, "--endpoint")
    assert "secret" not in done.err


def test_a_bundle_that_holds_no_certificates_is_4(place: Path) -> None:
    (place / "empty.pem").write_text("")
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        for bundle in (place / "none.pem", place / "empty.pem"):
            for words in (["fetch", "--store", place / "store"], ["lock", "add", "org/x"]):
                done = provision(*words, cwd=place, HF_ENDPOINT="https://127.0.0.1:9", **{variable: str(bundle)})
                assert done.code == 4, done.err
                assert "Traceback" not in done.err
                assert f"{variable} names {bundle}" in done.err


def test_the_module_is_the_command(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "provisioner", "lock", "check"],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "in order" in done.stdout
