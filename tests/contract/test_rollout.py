"""`provision rollout` as a process against an emulated API server whose controllers play along."""

from __future__ import annotations

import copy
import json
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
    with Controllers(api, NEW).running() as found:
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


def changed(api: ApiServer, name: str, image: str) -> None:
    """Somebody deploys another image."""
    one = copy.deepcopy(live(api, name))
    one["spec"]["template"]["spec"]["containers"][0]["image"] = image
    one["metadata"]["generation"] += 1
    api.put("deployments", NAMESPACE, name, one)


def image_of(api: ApiServer, name: str) -> str:
    return str(live(api, name)["spec"]["template"]["spec"]["containers"][0]["image"])


def spared(controllers: Controllers) -> list[str]:
    args = controllers.jobs[-1]["spec"]["template"]["spec"]["containers"][0]["args"]
    return [args[at + 1] for at, word in enumerate(args) if word == "--spare"]


def whole(*args: str) -> Object:
    """A pod template that mounts the whole volume."""
    pod = template(OLD)
    pod["spec"]["containers"][0] |= {"args": list(args)}
    del pod["spec"]["containers"][0]["volumeMounts"][0]["subPath"]
    return pod


def wait_for(release: str) -> list[Object]:
    args = ["verify", "--at", "pvc", "--release", release, "--mode", "recorded", "--wait", "300"]
    return [{"name": "wait-for-models", "image": "x", "args": args}]


def test_mirror_repoint_prune_in_this_order(site: Site, controllers: Controllers) -> None:
    ours = template(OLD)
    ours["metadata"]["annotations"] = {"model-provisioner/release": OLD}
    workload(site.api, "a-search", ours)
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
    assert {(method, query.get("dryRun")) for method, _, query in site.api.requests} == {("GET", None), ("PUT", "All")}
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


def test_a_stateful_set_needs_its_broken_pod_deleted_and_says_so(site: Site, controllers: Controllers) -> None:
    workload(site.api, "index", template(OLD), "StatefulSet", serviceName="x")
    controllers.stuck.add("index")
    done = rollout(site)
    assert done.code == 5
    assert "Its old template is back; delete its broken pod" in done.err
    assert mounted(site.api, "index", "statefulsets") == [f"releases/{OLD}"]


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
    assert spared(controllers) == sorted([OLDER, NEW])
    assert rollout(site, "--no-prune").json["prune"] is None


def test_somebody_elses_change_in_between_is_kept(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    controllers.during["mirror"] = lambda: site.api.faults.append(("PUT", "deployments", 409))
    assert rollout(site).code == 0
    assert mounted(site.api, "search") == [f"releases/{NEW}"]


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        ("Deployment", {"paused": True}, "it is paused"),
        ("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
        ("StatefulSet", {"updateStrategy": {"rollingUpdate": {"partition": 1}}}, "partition of 1"),
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
    pod = template(OLD, env=[{"name": "HF_HOME", "value": "/data/hf"}])
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


# What others do meanwhile, and what fails on the way.


def test_what_was_deployed_during_the_mirror_survives_a_failed_rollout(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    controllers.during["mirror"] = lambda: changed(site.api, "search", "server:2")
    controllers.stuck.add("search")
    assert rollout(site).code == 5
    assert (image_of(site.api, "search"), mounted(site.api, "search")) == ("server:2", [f"releases/{OLD}"])


def test_what_was_deployed_while_it_came_up_is_not_overwritten(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    controllers.stuck.add("search")
    controllers.meanwhile = lambda: (
        image_of(site.api, "search") == "server:2" or changed(site.api, "search", "server:2")
    )
    done = rollout(site)
    assert done.code == 5
    assert "changed by somebody else meanwhile" in done.err
    assert (image_of(site.api, "search"), mounted(site.api, "search")) == ("server:2", [f"releases/{NEW}"])


def test_again_does_not_report_success_over_what_is_broken(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(NEW))
    one = live(site.api, "search")
    one["metadata"]["generation"] += 1
    controllers.stuck.add("search")
    done = rollout(site)
    assert done.code == 5
    assert done.json["failed"] is True
    assert mounted(site.api, "search") == [f"releases/{NEW}"]
    assert [name for name in controllers.order if "prune" in name] == []


def test_an_api_server_that_is_away_for_a_moment_stops_nothing(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    controllers.during["mirror"] = lambda: site.api.faults.extend(
        [("GET", "deployments", 500), ("PUT", "deployments", 500), ("GET", "deployments", 0)]
    )
    done = rollout(site)
    assert done.code == 0, done.err
    assert mounted(site.api, "search") == [f"releases/{NEW}"]


def test_a_right_that_lacks_is_missed_before_the_mirror(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    site.api.forbidden.add(("PUT", "deployments"))
    assert rollout(site).code == 6
    assert controllers.order == []


def test_what_an_operator_made_is_left_to_it(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    owner = {"kind": "InferenceService", "name": "llm", "uid": "x", "controller": True}
    live(site.api, "search")["metadata"]["ownerReferences"] = [owner]
    done = rollout(site)
    assert done.code == 0
    assert "belongs to InferenceService/llm" in done.err
    assert mounted(site.api, "search") == [f"releases/{OLD}"]


# Everything that mounts a release.


def test_all_mounts_of_all_containers_change_and_none_is_lost(site: Site, controllers: Controllers) -> None:
    pod = template(OLD)
    pod["metadata"]["annotations"] = {"model-provisioner/release": OLD}
    (main,) = pod["spec"]["containers"]
    hub = {"name": "models", "mountPath": "/weights", "subPath": f"releases/{OLD}/hub", "readOnly": True}
    main["volumeMounts"].append(hub)
    side = {"name": "side", "image": "x", "restartPolicy": "Always", "volumeMounts": [dict(main["volumeMounts"][0])]}
    pod["spec"]["initContainers"] = [side]
    workload(site.api, "search", pod)
    assert rollout(site).code == 0
    assert mounted(site.api, "search") == [f"releases/{NEW}", f"releases/{NEW}/hub"]
    (init,) = live(site.api, "search")["spec"]["template"]["spec"]["initContainers"]
    assert init["volumeMounts"][0]["subPath"] == f"releases/{NEW}"


def test_a_prune_spares_what_is_scaled_to_nothing_or_comes_later(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    workload(site.api, "asleep", template("aaaaaaaaaaaa"), replicas=0)
    job = {"spec": {"template": whole("verify", "--release", "bbbbbbbbbbbb")}}
    cron = {"kind": "CronJob", "apiVersion": "batch/v1", "metadata": {}, "spec": {"jobTemplate": job}}
    site.api.put("cronjobs", NAMESPACE, "verify", cron)
    pod: Any = {"kind": "Pod", "apiVersion": "v1", **whole("--model=/mnt/releases/cccccccccccc/models/x")}
    site.api.put("pods", NAMESPACE, "batch", pod | {"status": {"phase": "Running"}})
    over = {"kind": "Pod", "apiVersion": "v1", **template("dddddddddddd"), "status": {"phase": "Succeeded"}}
    site.api.put("pods", NAMESPACE, "over", over)
    assert rollout(site, "deployment/search").code == 0
    assert spared(controllers) == sorted([NEW, "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"])


def test_the_nightly_verify_checks_the_new_release_and_keeps_its_schedule(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    before = provision("emit", "verify", "--json", "--schedule", "1 2 * * *", cwd=site.folder).json["items"]
    (cron,) = [one for one in before if one["kind"] == "CronJob"]
    text = json.dumps(cron).replace(NEW, OLD).replace(FACTS.digest[:12], "0" * 12)
    site.api.put("cronjobs", NAMESPACE, "models-verify", json.loads(text))
    done = rollout(site)
    assert done.code == 0, done.err
    found = live(site.api, "models-verify", "cronjobs")
    assert found["spec"] == cron["spec"]
    assert found["metadata"]["annotations"]["model-provisioner/release"] == NEW
    lock = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    (name,) = [one["configMap"]["name"] for one in lock if "configMap" in one]
    assert ("configmaps", NAMESPACE, name) in site.api.objects
    assert OLD not in spared(controllers)


def test_a_kind_that_cannot_be_rolled_out_is_refused_at_once(site: Site, controllers: Controllers) -> None:
    done = rollout(site, "pod/x")
    assert done.code == 2
    assert site.api.requests == []


def test_nothing_is_pruned_under_a_pod_that_does_not_say_what_it_reads(site: Site, controllers: Controllers) -> None:
    workload(site.api, "search", template(OLD))
    pod: Any = {"kind": "Pod", "apiVersion": "v1", **whole("sleep", "600"), "status": {"phase": "Running"}}
    site.api.put("pods", NAMESPACE, "looker", pod)
    done = rollout(site)
    assert (done.code, done.json["prune"]) == (0, None)
    assert "Nothing is pruned: pod looker" in done.err
