"""What the server reads before it loads anything: its variables, the cgroup, and the release."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import InvalidDocument
from provisioner.report import Evidence
from provisioner.serve.cpus import UNLIMITED, threads
from provisioner.serve.settings import EngineName, Role, Settings, parse


def test_nothing_set_is_the_inference_server_on_port_9000() -> None:
    settings = parse({})
    assert settings == Settings()
    assert (settings.port, settings.role, settings.evidence) == (9000, Role.INFERENCE, Evidence.RECORDED)


def test_the_variables_of_the_deployments_are_understood() -> None:
    settings = parse(
        {
            "MODEL_SERVER_PORT": "9100",
            "INDEXING_ONLY": "True",
            "VERIFY": "full",
            "MODEL_EMBEDDER_NAME": "BAAI/bge-large-en-v1.5",
            "EMBEDDER_OMP_NUM_THREADS": "3",
            "EMBEDDER_BATCH_MAX_SIZE": "32",
            "ENGINE": "openvino",
            "API_KEY": "",
            "RERANKER_ONNX_PATH": "onnx/model.onnx",
        }
    )
    assert (settings.port, settings.role, settings.evidence) == (9100, Role.INDEXING, Evidence.REHASHED)
    assert (settings.embedder.name, settings.embedder.threads, settings.embedder.batch) == (
        "BAAI/bge-large-en-v1.5",
        3,
        32,
    )
    assert (settings.engine, settings.api_key, settings.reranker.graph) == (
        EngineName.OPENVINO,
        None,
        "onnx/model.onnx",
    )


def test_every_variable_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidDocument) as refused:
        parse({"MODEL_SERVER_PORT": "tcp://10.0.0.1:9000", "VERIFY": "maybe", "BATCH_WAIT_MS": "nan", "MAX_TEXTS": "0"})
    places = {problem.place for problem in refused.value.problems}
    assert places == {"MODEL_SERVER_PORT", "VERIFY", "BATCH_WAIT_MS", "MAX_TEXTS"}


def test_a_queue_that_the_largest_request_does_not_fit_into_is_refused() -> None:
    with pytest.raises(InvalidDocument, match="MAX_QUEUE"):
        parse({"MAX_TEXTS": "500", "MAX_QUEUE": "499"})


def test_the_key_is_not_in_what_is_printed_of_the_settings() -> None:
    assert "secret-key" not in repr(parse({"API_KEY": "secret-key"}))


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))


def cgroup(root: Path, line: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(line)
    for path, text in files.items():
        place = root / "sys/fs/cgroup" / path.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("400000 100000", 4),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("max 100000", UNLIMITED),
        ("rubbish", UNLIMITED),
    ],
)
def test_threads_follow_the_limit_of_the_container(many_cpus: None, tmp_path: Path, quota: str, expected: int) -> None:
    place = tmp_path / "sys/fs/cgroup"
    place.mkdir(parents=True)
    (place / "cpu.max").write_text(quota + "\n")
    assert threads(cgroup(tmp_path, "0::/\n")) == expected


def test_a_limit_above_the_own_cgroup_counts_too(many_cpus: None, tmp_path: Path) -> None:
    for folder, text in (("pods", "300000 100000"), ("pods/one", "max 100000"), ("pods/one/container", "max 100000")):
        place = tmp_path / "sys/fs/cgroup" / folder
        place.mkdir(parents=True)
        (place / "cpu.max").write_text(text)
    assert threads(cgroup(tmp_path, "0::/pods/one/container\n")) == 3


def test_the_first_version_of_cgroups(many_cpus: None, tmp_path: Path) -> None:
    place = tmp_path / "sys/fs/cgroup/cpu,cpuacct/pod"
    place.mkdir(parents=True)
    (place / "cpu.cfs_quota_us").write_text("200000\n")
    (place / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us").write_text("-1\n")
    assert threads(cgroup(tmp_path, "4:cpu,cpuacct:/pod\n0::/elsewhere\n")) == 2


def test_no_more_threads_than_the_process_may_run_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    place = tmp_path / "sys/fs/cgroup"
    place.mkdir(parents=True)
    (place / "cpu.max").write_text("800000 100000")
    assert threads(cgroup(tmp_path, "0::/\n")) == 2


def test_without_any_file_to_read_a_small_number(many_cpus: None, tmp_path: Path) -> None:
    assert threads(tmp_path) == UNLIMITED


def test_the_page_lists_every_variable() -> None:
    read: list[str] = []

    class Asked(dict[str, str]):
        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            read.append(name)
            return default

    parse(Asked())
    page = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text()
    assert len(read) > 25
    assert [name for name in read if f"`{name}`" not in page] == []


def test_the_indexing_server_never_loads_a_reranker() -> None:
    assert parse({"INDEXING_ONLY": "True"}).tasks == ("embed",)
    assert parse({"TASKS": "rerank"}).tasks == ("rerank",)
    with pytest.raises(InvalidDocument, match="TASKS"):
        parse({"INDEXING_ONLY": "True", "TASKS": "rerank"})
