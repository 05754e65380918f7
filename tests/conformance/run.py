#!/usr/bin/env python3
"""Run tests of Kubernetes' conformance suite against simulated clusters.

    python tests/conformance/run.py --e2e PATH/e2e.test -- --clock-scale 2     those recorded
    ... --tests FILE                                                           those in FILE
    ... --record                                                 write those that pass down

`e2e.test` is the suite of Kubernetes 1.37.2.  Go builds it from the module:

    go mod download k8s.io/kubernetes@v1.37.2
    cp -r "$(go env GOMODCACHE)/k8s.io/kubernetes@v1.37.2" kubernetes && chmod -R u+w kubernetes
    cd kubernetes && go test -c -o ../e2e.test ./test/e2e

Tests of kubectl want one of the same version (`--kubectl PATH`).  `--classes FILE` names a table
with the columns `class`, `file` and `test`: `--class D` then runs those whose class begins so, and
the summary counts by class.

Tests are given to workers in batches; each batch has a `kubesim serve` of its own, to which what
follows `--` is given: `--clock-scale 2` shortens waits for what is simulated, and is the most with
which all of them pass: one looks for four real minutes at a container that ends after ten virtual
ones, another keeps watches open that end then.  The exit status is 1 if a test that is recorded as
passing does not pass.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
PASSING = HERE / "passing.txt"
FLAGS = (
    "--provider=skeleton", "--num-nodes=3", "--allowed-not-ready-nodes=-1", "--minStartupPods=-1",
    "--dump-logs-on-failure=false", "--ginkgo.no-color", "--ginkgo.silence-skips",
)

MISSING = (
    "foo:non-existent", "gcr.io/google_samples/gb-redisslave:nonexistent", "webserver:404",
)
"""Images of which the suite knows that no registry has them; in the simulation any image exists."""


def read(file: Path) -> list[str]:
    """The names in a file, one a line; `#` begins a comment line."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def serve(folder: Path, options: list[str]) -> tuple[subprocess.Popen[str], Path]:
    """Start a cluster; returns its process and its kubeconfig."""
    config = folder / "kubeconfig"
    command = [
        sys.executable, "-m", "pytest_kubesim.cli", "serve", "--nodes", "3",
        "--kubeconfig", str(config), *options,
    ]
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, stderr=(folder / "serve.log").open("w"), text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("READY"):
        raise SystemExit(f"kubesim serve did not start: {line!r}; see {folder / 'serve.log'}")
    for image in MISSING:
        fault = f'kubesim.faults.image("{image}").pull_error("not_found")'
        subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "pytest_kubesim.cli", "ctl", "--kubeconfig", str(config),
             "faults", "add", fault],
            check=True, stdout=subprocess.DEVNULL,
        )
    return process, config


def batch(
    command: list[str], names: list[str], options: list[str], timeout: int, logs: Path | None
) -> dict[str, tuple[str, float, str]]:
    """Run some tests on a cluster of their own: state, seconds and failure of each."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        process, config = serve(folder, options)
        report = folder / "report.json"
        focus = "|".join(re.escape(name).replace(r"\ ", " ") + "$" for name in names)
        try:
            done = subprocess.run(  # noqa: S603 - the suite that the caller named
                [*command, f"--kubeconfig={config}", *FLAGS, f"--ginkgo.focus={focus}",
                 f"--ginkgo.timeout={timeout}s", f"--ginkgo.json-report={report}"],
                check=False, capture_output=True, text=True, timeout=timeout + 120,
                env={**os.environ, "KUBECONFIG": str(config)},
            )
            output = done.stdout + done.stderr
        except subprocess.TimeoutExpired as expired:
            output = str(expired.stdout or "")
        finally:
            process.terminate()
            process.wait(20)
        if logs is not None:
            stem = re.sub(r"\W+", "_", names[0])[:80]
            (logs / f"{stem}.txt").write_text(output, encoding="utf-8")
            serve_log = (folder / "serve.log").read_text(encoding="utf-8")
            (logs / f"{stem}.serve.txt").write_text(serve_log, encoding="utf-8")
        return _states(report, names)


def _states(report: Path, names: list[str]) -> dict[str, tuple[str, float, str]]:
    found = {name: ("did not run", 0.0, "") for name in names}
    if not report.exists():
        return found
    for spec in json.loads(report.read_text(encoding="utf-8"))[0]["SpecReports"]:
        texts = [*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]]
        name = " ".join(texts).strip()
        if name in found and spec["State"] != "skipped":
            failure = spec.get("Failure", {}).get("Message", "")
            found[name] = (spec["State"], spec["RunTime"] / 1e9, failure)
    return found


def chosen(args: argparse.Namespace, classes: dict[str, str]) -> list[str]:
    """The tests to run."""
    names: list[str] = read(args.tests) if args.tests else []
    names += [
        name for name, group in classes.items() if any(group.startswith(c) for c in args.group)
    ]
    if not args.tests and not args.group:
        names = read(PASSING)
    if args.unrecorded:
        recorded = set(read(PASSING))
        names = [name for name in names if name not in recorded]
    return names


def record(passed: list[str]) -> None:
    """Write down what passes."""
    kept = set(read(PASSING)) if PASSING.exists() else set[str]()
    PASSING.write_text("\n".join(sorted(kept.union(passed))) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """What the command was told."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--e2e", required=True, help="the suite's binary")
    parser.add_argument("--kubectl", help="kubectl, for the tests that call it")
    parser.add_argument("--tests", type=Path, help="a file of names, one a line")
    parser.add_argument("--classes", type=Path, help="a table of the tests: class, file, test")
    parser.add_argument(
        "--class", dest="group", action="append", default=[], help="run this class of the table"
    )
    parser.add_argument("--unrecorded", action="store_true", help="only those not recorded yet")
    parser.add_argument("--workers", type=int, default=2, help="how many clusters at once")
    parser.add_argument("--batch", type=int, default=8, help="how many tests a cluster gets")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for a batch")
    parser.add_argument("--logs", type=Path, help="a folder for the output of the batches")
    parser.add_argument("--record", action="store_true", help=f"write what passes to {PASSING}")
    parser.add_argument("options", nargs="*", help="further options of kubesim serve, after --")
    return parser.parse_args()


def main() -> int:
    """The command."""
    args = arguments()
    classes: dict[str, str] = {}
    if args.classes is not None:
        with args.classes.open(encoding="utf-8") as table:
            classes = {row["test"]: row["class"] for row in csv.DictReader(table)}
    if args.logs is not None:
        args.logs.mkdir(parents=True, exist_ok=True)
    names = chosen(args, classes)
    batches = [names[i : i + args.batch] for i in range(0, len(names), args.batch)]
    command = [args.e2e, *([f"--kubectl-path={args.kubectl}"] if args.kubectl else ())]
    passed: list[str] = []
    failed: list[str] = []
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.workers) as pool:
        work = [
            pool.submit(batch, command, part, args.options, args.timeout, args.logs)
            for part in batches
        ]
        for future in concurrent.futures.as_completed(work):
            for name, (state, seconds, failure) in future.result().items():
                (passed if state == "passed" else failed).append(name)
                print(f"{state:<11} {seconds:6.1f} s  {name}", flush=True)
                if failure:
                    print("    " + failure.strip().replace("\n", "\n    ")[:1500], flush=True)
            if args.record:
                record(passed)
    counts = collections.Counter(classes.get(name, "") for name in names)
    good = collections.Counter(classes.get(name, "") for name in passed)
    for group, count in sorted(counts.items()):
        if group:
            print(f"{group}: {good[group]} of {count}")
    print(f"{len(passed)} passed, {len(failed)} did not, {time.monotonic() - began:.0f} s")
    return 1 if set(failed) & set(read(PASSING) if PASSING.exists() else ()) else 0


if __name__ == "__main__":
    sys.exit(main())
