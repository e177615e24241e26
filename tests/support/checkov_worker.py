"""Runs in the environment of checkov: a path on stdin, one line of JSON on stdout, until stdin ends."""

import json
import sys

from checkov.kubernetes.runner import Runner
from checkov.runner_filter import RunnerFilter


def look(path: str) -> dict[str, object]:
    report = Runner().run(root_folder=None, files=[path], runner_filter=RunnerFilter(framework=["kubernetes"]))
    return {
        "checked": len(report.passed_checks) + len(report.failed_checks),
        "errors": report.parsing_errors,
        "failed": [
            {"id": one.check_id, "name": one.check_name, "resource": one.resource} for one in report.failed_checks
        ],
    }


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        print(json.dumps(look(line.rstrip("\n"))), file=answers, flush=True)
