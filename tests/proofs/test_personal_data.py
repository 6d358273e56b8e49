"""Nothing personal lies anywhere in clear: neither on the cache's server, nor in logs and tools.

Excepted are what is part of a page's address, its path and the parameters that its view declares,
in the commands about its key and in the inspector's list of fills; the id of a request, which is
sent in order to be logged; and the name of an operator, for the log tells who acts on the cache.
"""

from pathlib import Path

import pytest
from baking import Project
from running import SHARED_BACKENDS, run_program

pytestmark = pytest.mark.long
PLACES = ("keys", "values", "traffic", "outbox", "logs", "commands", "inspector", "other visitors")
#: Where the key of a page may be told that was asked for and not stored.
OF_ADDRESSES = {"traffic", "inspector"}
#: Among them are refused credentials, bodies and guesses, and a broken database.
STATUSES = {200, 302, 303, 400, 401, 404, 405, 422, 429, 500}


@pytest.mark.parametrize("backend", SHARED_BACKENDS)
def test_nothing_personal_is_kept_or_told(
    project: Project, environment: Path, backend: str
) -> None:
    counted = run_program(project, environment, "personal_data.py", backend)
    for place in OF_ADDRESSES & counted["found"].keys():
        assert counted["found"].pop(place) == ["declared value"]
    assert counted["found"] == {}
    assert all(counted["bytes"][place] > 0 for place in PLACES)
    assert set(counted["statuses"]) >= STATUSES
    assert min(counted["hits"], counted["private_pages"]) > 0
    assert counted["opened"] == counted["entries"] > 0
    assert counted["opened_by_wrong_secret"] == 0


def test_without_encryption_it_is_found(project: Project, environment: Path) -> None:
    counted = run_program(project, environment, "personal_data.py", "RedisCache", "--plain")
    assert "user name" in counted["found"]["values"]
    assert "user name" in counted["found"]["traffic"]


def test_each_form_of_a_mark_is_found(project: Project, environment: Path) -> None:
    counted = run_program(project, environment, "personal_data.py", "forms")
    assert counted["found"] == counted["forms"]
    assert counted["found_of_others"] == []
