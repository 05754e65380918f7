"""What a test author holds: the cluster, its nodes and operators, and what may be said of them.

`cluster` is the fixture's value; `control_plane` and `nodes` wire the simulated binaries;
`operators` runs user code; `references`, `manifests` and `matching` read what a test says;
`waiting` holds it to that; `timeline` tells what happened.
"""
