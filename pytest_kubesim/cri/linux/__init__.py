"""What a kernel gives a container: files, mounts, processes, signals, descriptors.

It knows nothing of the programs that use it (`cri.shell`, `cri.applets`, `cri.software`) and
nothing of Kubernetes.  It is made for a container when something in it really runs, not before.
"""
