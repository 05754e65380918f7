"""The pod spec, wherever it stands: in Pods, in templates of workloads, in PodTemplates.

What it is: defaults, validation, warnings and what else `pkg/apis/core` knows of a `PodSpec`, as
functions of JSON.  What it is not: strategies; those are in `registry/<group>/<kind>.py`.
"""
