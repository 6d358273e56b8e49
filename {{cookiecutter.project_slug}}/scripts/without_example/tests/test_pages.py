"""The first page."""


def test_home_is_made_once(client, cache_log):
    first, second = client.get("/"), client.get("/")
    assert first.status_code == 200
    assert second.data == first.data
    cache_log.page("pages.home").was_filled(times=1).was_hit(times=1)
