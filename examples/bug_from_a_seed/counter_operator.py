"""An operator with a bug: it hands out numbers, and two things may get the same one.

It reads the last number from a ConfigMap, gives the next one away, and then writes it back, without
saying which version it has read.  Two replicas of it, or a crash at the wrong moment, and a number
is given twice.
"""

from __future__ import annotations

import time

from kubernetes import client, config


def main(careful=False):
    config.load_incluster_config()
    core = client.CoreV1Api()
    while True:
        for pod in core.list_namespaced_config_map("default", label_selector="wants=number").items:
            if not (pod.data or {}).get("number"):
                hand_out(core, pod.metadata.name, careful)
        time.sleep(1)


def hand_out(core, name, careful):
    counter = core.read_namespaced_config_map("counter", "default")
    number = int(counter.data["last"]) + 1
    write_back = {"data": {"last": str(number)}}
    if careful:
        # Take the number first, and only if nobody else has.
        write_back["metadata"] = {"resourceVersion": counter.metadata.resource_version}
        try:
            core.patch_namespaced_config_map("counter", "default", write_back)
        except client.ApiException as error:
            if error.status != 409:
                raise
            return
        core.patch_namespaced_config_map(name, "default", {"data": {"number": str(number)}})
        return
    core.patch_namespaced_config_map(name, "default", {"data": {"number": str(number)}})
    core.patch_namespaced_config_map("counter", "default", write_back)


def careful_main():
    main(careful=True)
