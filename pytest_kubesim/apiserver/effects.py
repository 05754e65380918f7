"""What a fault may do to a request: the effects of the fault point `apiserver.request`.

The point is consulted with `client`, `user`, `verb`, `group`, `resource`, `subresource`,
`namespace`, `name`, before the request is looked at.  Whoever arms it answers one of these records,
or None to let the request pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from pytest_kubesim.sim.tasks import Future


@attrs.frozen
class Respond:
    """Answer with this `Status` object (an external system: this response); the request is not
    looked at.
    """

    status: Any
    headers: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Refuse:
    """The connection is refused: nobody listens."""


@attrs.frozen
class Reset:
    """The connection is reset before the request is looked at."""


@attrs.frozen
class Drop:
    """The request is served, and its answer is lost: the client sees the connection reset."""


@attrs.frozen
class Ignore:
    """No answer ever comes; the request is not looked at."""


@attrs.frozen
class Delay:
    """Wait `delay_ns` nanoseconds, then go on, with another effect if one is given."""

    delay_ns: int
    then: Any = None


@attrs.frozen
class Hold:
    """Serve the request at once, and keep the answer back until `until` is done."""

    until: Future[Any]
