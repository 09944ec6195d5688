"""Internet addresses as limits count them."""

from __future__ import annotations

import ipaddress

IPV6_PREFIX = 64  # what one household or server gets: who counted single addresses there would count nothing


def network_of(address: str) -> str:
    """Return whose attempts are counted together: an IPv4 address, or the /64 of an IPv6 one. What is no address stays as it is."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False).network_address)
