"""Addresses from a range, one after the other, as the `host-local` plugin gives them.

The law: an address is given to one owner at a time; the search starts after the address given
last and wraps around, so that an address comes back late.  The first address of the range is the
gateway's.
"""

from __future__ import annotations

import ipaddress


class NoAddressesLeft(LookupError):
    """The range is used up; the text is the plugin's."""


class HostLocal:
    """The addresses of one node's pods.

    Parameters: `cidr`, such as `10.244.1.0/24`.
    """

    def __init__(self, cidr: str) -> None:
        network = ipaddress.ip_network(cidr)
        self.cidr = cidr
        self._base = int(network.network_address)
        self._version = network.version
        self._size = network.num_addresses
        self._last = 1
        self._owners: dict[int, str] = {}

    def allocate(self, owner: str) -> str:
        """The next free address; raises `NoAddressesLeft`."""
        first, last = 2, self._size - 2
        count = last - first + 1
        for step in range(1, count + 1):
            offset = first + (self._last - first + step) % count
            if offset not in self._owners:
                self._owners[offset] = owner
                self._last = offset
                return self._text(offset)
        raise NoAddressesLeft(
            "failed to allocate for range 0: no IP addresses available in range set: "
            f"{self._text(1)}-{self._text(last)}"
        )

    def release(self, address: str, owner: str) -> None:
        """Give an address back; nothing if it is not the owner's."""
        offset = int(ipaddress.ip_address(address)) - self._base
        if self._owners.get(offset) == owner:
            del self._owners[offset]

    def _text(self, offset: int) -> str:
        if self._version == 4:
            return str(ipaddress.IPv4Address(self._base + offset))
        return str(ipaddress.IPv6Address(self._base + offset))
