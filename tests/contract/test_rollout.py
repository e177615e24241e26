"""`provision rollout` as a process against an emulated API server whose controllers play along."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_cluster import NAMESPACE, claim
from tests.support.api_server import ApiServer, Object
from tests.support.api_workloads import Controllers, template, workload
from tests.support.faults_process import Done, provision
from tests.support.job_process import FACTS, JOB, Site

OLD = "0123456789ab"
OLDER = "ba9876543210"
NEW = FACTS.release


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "tls").running() as server:
        claim(server)
        yield server


@pytest.fixture
def controllers(api: ApiServer) -> Iterator[Controllers]:
    with Controllers(api).running() as found:
        yield found


@pytest.fixture
def site(api: ApiServer, controllers: Controllers, tmp_path: Path) -> Iterator[Site]:
    found = Site(api, tmp_path)
    yield found
    found.close()


def rollout(site: Site, *arguments: object) -> Done:
    return site.launch("rollout", "--every", "0.05", "--json", *arguments).done()


def live(api: ApiServer, name: str, kind: str = "deployments") -> Object:
    return api.objects[kind, NAMESPACE, name]


def mounted(api: ApiServer, name: str, kind: str = "deployments") -> list[str]:
    containers = live(api, name, kind)["spec"]["template"]["spec"]["containers"]
    return [one["subPath"] for container in containers for one in container["volumeMounts"] if "subPath" in one]


def wait_for(release: str) -> list[Object]:
    args = ["verify", "--at", "pvc", "--release", release, "--mode", "recorded", "--wait", "300"]
    return [{"name": "wait-for-models", "image": "x", "args": args}]


def test_mirror_repoint_prune_in_this_order(site: Site, controllers: Controllers) -> None:
    workload(site.api, "a-search", template(OLD))
    workload(site.api, "b-index", template(OLD), "StatefulSet", serviceName="x")
    workload(site.api, "c-node", template(OLDER), "DaemonSet")
    workload(site.api, "other", template(OLD, image="x") | {"spec": {"containers": [{"name": "x", "image": "x"}]}})
    untouched = copy.deepcopy(live(site.api, "other"))
    done = rollout(site, "--to", "pvc", "--keep", "3")
    assert done.code == 0, done.err
    assert controllers.order == [JOB, "a-search", "b-index", "c-node", f"models-prune-{NEW}"]
    assert mounted(site.api, "a-search") == mounted(site.api, "b-index", "statefulsets") == [f"releases/{NEW}"]
    assert mounted(site.api, "c-node", "daemonsets") == [f"releases/{NEW}"]
    assert live(site.api, "other") == untouched
    pod = live(site.api, "a-search")["spec"]["template"]
    assert pod["metadata"]["annotations"] == {"model-provisioner/release": NEW}
    variables = {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"]}
    assert (variables["HF_HUB_CACHE"], variables["HF_HUB_OFFLINE"]) == ("/models/hub", "1")
    assert done.json["changed"] == ["deployment/a-search", "statefulset/b-index", "daemonset/c-node"]
    prune = controllers.jobs[-1]["spec"]["template"]["spec"]
    assert prune["containers"][0]["args"] == [
        *("releases", "prune", "--at", "pvc", "--keep", "3", "--spare", NEW),
        "--json",
    ]
    assert "readOnly" not in prune["volumes"][0]["persistentVolumeClaim"]


def test_again_there_is_nothing_to_repoint(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    assert rollout(site).code == 0
    before = copy.deepcopy(live(site.api, "search"))
    done = rollout(site)
    assert (done.code, done.json["changed"]) == (0, [])
    assert live(site.api, "search") == before


def test_a_dry_run_asks_and_changes_nothing(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    done = rollout(site, "--dry-run")
    assert done.code == 0, done.err
    assert done.json["workloads"] == [{"workload": "deployment/search", "releases": [OLD], "wanted": NEW}]
    assert {method for method, _, _ in site.api.requests} == {"GET"}
    shown = site.launch("rollout", "--dry-run").done()
    assert "1 workload of 1 would change; nothing was changed." in shown.out


def test_what_does_not_come_up_gets_its_old_template_back_and_the_rest_keeps_theirs(
    site: Site, controllers: Controllers
) -> None:
    for name in ("a", "b", "c"):
        workload(site.api, name, template(OLD))
    before = copy.deepcopy(live(site.api, "b")["spec"])
    controllers.stuck.add("b")
    done = rollout(site)
    assert done.code == 5
    (error,) = [one for one in done.events if one["event"] == "error"]
    assert error["message"].startswith(f"deployment/b does not come up with release {NEW}")
    assert "b-new: CrashLoopBackOff (back-off 5m0s)" in error["message"]
    assert (mounted(site.api, "a"), mounted(site.api, "c")) == ([f"releases/{NEW}"], [f"releases/{OLD}"])
    assert live(site.api, "b")["spec"] == before
    assert [name for name in controllers.order if "prune" in name] == []


def test_a_mirror_that_fails_touches_no_workload(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    before = copy.deepcopy(live(site.api, "search"))
    controllers.exits["mirror"] = 3
    done = rollout(site)
    assert done.code == 3
    assert live(site.api, "search") == before
    assert controllers.order == [JOB]


def test_releases_that_pods_use_are_spared(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    pod: Any = {"kind": "Pod", "apiVersion": "v1", **template(OLDER), "status": {"phase": "Running"}}
    site.api.put("pods", NAMESPACE, "batch-run", pod)
    assert rollout(site).code == 0
    args = controllers.jobs[-1]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [args[at + 1] for at, word in enumerate(args) if word == "--spare"] == sorted([OLDER, NEW])
    assert rollout(site, "--no-prune").json["prune"] is None


def test_somebody_elses_change_in_between_is_kept(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    site.api.faults.append(("PUT", "deployments", 409))
    assert rollout(site).code == 0
    assert mounted(site.api, "search") == [f"releases/{NEW}"]


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        ("Deployment", {"paused": True}, "it is paused"),
        ("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
    ],
)
def test_what_cannot_be_rolled_out_is_refused_before_anything_is_changed(
    site: Site, controllers: Controllers, kind: str, spec: Object, why: str
) -> None:
    workload(site.api, "search", template(OLD), kind, **spec)
    done = rollout(site)
    assert done.code == 2
    assert why in done.err
    assert controllers.order == []


def test_a_model_that_the_new_lock_does_not_have_is_refused_before_anything_is_changed(
    site: Site, controllers: Controllers
) -> None:
    pod = template(OLD)
    pod["spec"]["containers"][0]["volumeMounts"][0]["subPath"] += "/models/gone"
    workload(site.api, "search", pod)
    done = rollout(site)
    assert done.code == 7
    assert "no model gone" in done.err
    assert controllers.order == []


def test_a_waiting_init_container_waits_for_the_new_release(site: Site, controllers: Controllers) -> None:
    pod = template(OLD)
    pod["spec"]["initContainers"] = wait_for(OLD)
    workload(site.api, "search", pod)
    assert rollout(site).code == 0
    (init,) = live(site.api, "search")["spec"]["template"]["spec"]["initContainers"]
    assert init["args"][init["args"].index("--release") + 1] == NEW
    assert init["args"][init["args"].index("--wait") + 1] == "300"


def test_a_mount_that_is_not_ours_changes_its_folder_only(site: Site, controllers: Controllers) -> None:
    pod = template(OLD)
    pod["spec"]["volumes"][0]["name"] = "cache"
    pod["spec"]["containers"][0]["volumeMounts"][0] |= {"name": "cache", "subPath": f"releases/{OLD}/huggingface"}
    workload(site.api, "search", pod)
    assert rollout(site).code == 0
    wanted = copy.deepcopy(pod["spec"])
    wanted["containers"][0]["volumeMounts"][0]["subPath"] = f"releases/{NEW}/huggingface"
    assert live(site.api, "search")["spec"]["template"]["spec"] == wanted


def test_named_workloads_only_and_a_wrong_name_says_which_there_are(site: Site, controllers: Controllers) -> None:
    workload(site.api, "a", template(OLD))
    workload(site.api, "b", template(OLD))
    assert rollout(site, "deployment/b").code == 0
    assert (mounted(site.api, "a"), mounted(site.api, "b")) == ([f"releases/{OLD}"], [f"releases/{NEW}"])
    done = rollout(site, "statefulset/b")
    assert done.code == 7
    assert "deployment/a, deployment/b" in done.err


def test_without_workloads_the_release_is_mirrored_and_said_to_wait(site: Site, controllers: Controllers) -> None:
    done = site.launch("rollout", "--every", "0.05").done()
    assert done.code == 0, done.err
    assert "No workload mounts a release of this volume" in done.out
    assert controllers.order == [JOB, f"models-prune-{NEW}"]


def test_the_help_teaches_the_way_back(tmp_path: Path) -> None:
    assert "--lock before.lock" in provision("rollout", "--help", cwd=tmp_path).out
