"""What is in images: the programs of busybox, agnhost, nginx and others, one file a family.

`catalog` knows which image is which; `executes` is the program of a container that runs one of
them: it makes the container's kernel (`cri.linux`) when it starts.  A family is data (`Software`):
what is in its files, what it starts, which programs its executables are.
"""
