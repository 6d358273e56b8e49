"""The name of a request's client: the same one, whichever of its ports or addresses it uses."""

import ipaddress
import re

#: An address with a port, or in brackets: Azure's gateways write the first, RFC 7239 the second.
WITH_PORT = re.compile(r"\[(?P<ipv6>[^]]*)\](:.*)?|(?P<ipv4>[0-9]+\.[0-9.]+):.*")


def client_of(address: str | None) -> str:
    """Return the name to count a client under, from the address that the server or a proxy gave.

    Ports are dropped. An IPv6 client is its network of 64 bits, all of which one visitor has
    (RFC 6177); an IPv4 address in IPv6's notation, and a 6to4 network, are that IPv4 address.
    Whatever is not an address, such as the empty one of a unix socket, counts as one client.
    """
    text = (address or "").strip(' "')
    if match := WITH_PORT.fullmatch(text):
        text = match["ipv6"] or match["ipv4"] or ""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ipv4 := ip.ipv4_mapped or ip.sixtofour:
        return str(ipv4)
    return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))
