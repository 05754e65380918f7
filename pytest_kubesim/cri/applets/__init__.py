"""The commands of busybox: small programs by their names.

One file a family; each exposes `APPLETS`, which maps a command to a coroutine function of its
process and its arguments.  What is wrong is said in busybox's words.  An option that is not known
is an error with busybox's text, never ignored.
"""
