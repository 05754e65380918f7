"""The doors: how clients and operators that are not ours get into a cluster.

The only room with sockets, asyncio, threads and client libraries in it.  `http` speaks HTTP/1.1
without I/O; `aio`, `sync` and `threads` let unmodified user code reach it on virtual time; `driver`
puts them together for one pytest process.  The room knows nothing of what a request means.
"""
