import pytest

from package import load

client = load("account.client")

IPV6 = "2001:db8:1:2::/64"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:50123", "192.0.2.1"),
        (' "192.0.2.1:50123"', "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:50123", "192.0.2.1"),
        ("2002:c000:201::1", "192.0.2.1"),
        ("2002:c000:201:ffff::1", "192.0.2.1"),
        ("2001:db8:1:2::1", IPV6),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", IPV6),
        ("[2001:db8:1:2::1]", IPV6),
        ("[2001:db8:1:2::1]:50123", IPV6),
        ('"[2001:db8:1:2::1]:_port"', IPV6),
        ("2001:db8:1:2::1%eth0", IPV6),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        (None, "unknown"),
        ("", "unknown"),
        ("unix:", "unknown"),
        ("_hidden", "unknown"),
        ("192.0.2.256", "unknown"),
        ("[::1", "unknown"),
    ],
)
def test_a_client_has_one_name(address: str | None, name: str) -> None:
    assert client.client_of(address) == name
