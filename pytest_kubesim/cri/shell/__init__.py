"""A POSIX shell: what `sh` in a container understands.

`parser` makes a tree (`syntax`) of a script, `expansion` makes fields of words, `interpreter` runs
the tree in a process of `cri.linux`, `builtins` are the commands that are part of the shell.  It
follows the shell of POSIX as busybox's `ash` speaks it, with ash's words for errors.
"""
