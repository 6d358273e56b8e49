"""Whose address an attempt to sign in comes from."""

import pytest

from {{cookiecutter.package_name}}.account.client import client_of

IPV6 = "2001:db8:1:2::/64"


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("192.0.2.1", ["192.0.2.1", "192.0.2.1:50123", ' "192.0.2.1:50123"']),
        ("192.0.2.1", ["::ffff:192.0.2.1", "::FFFF:c000:201", "[::ffff:192.0.2.1]:50123"]),
        ("192.0.2.1", ["2002:c000:201::1", "2002:c000:201:ffff::1"]),
        (IPV6, ["2001:db8:1:2::1", "2001:DB8:1:2:ffff:ffff:ffff:ffff", "[2001:db8:1:2::1]"]),
        (IPV6, ["[2001:db8:1:2::1]:50123", '"[2001:db8:1:2::1]:_port"', "2001:db8:1:2::1%eth0"]),
        ("2001:db8:1:3::/64", ["2001:db8:1:3::1"]),
        ("::/64", ["::1"]),
        ("unknown", [None, "", "unix:", "_hidden", "192.0.2.256", "[::1"]),
    ],
)
def test_a_client_has_one_name(name, addresses):
    assert {client_of(address) for address in addresses} == {name}
