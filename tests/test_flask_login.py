"""A project to which its owner adds Flask-Login: no page fails, and public ones are still hit."""

import re
import shutil
from pathlib import Path

import pytest
from baking import ROOT, TEMPLATE, Project, bake
from conftest import environment_of

LOCK = ROOT / "flask-coherent-cache" / "requirements" / "extensions.txt"

#: What the owner changes: file, old text and new text.
CHANGES = (
    ("extensions.py", "from flask_sqlalchemy",
     "from flask_login import LoginManager\nfrom flask_sqlalchemy"),
    ("extensions.py", "\ncache = Cache()\n", "\ncache = Cache()\nlogin_manager = LoginManager()\n"),
    ("extensions.py", "    csrf.init_app(app)\n",
     "    csrf.init_app(app)\n    login_manager.init_app(app)\n"),
    ("account/models.py", "from sqlalchemy import",
     "from flask_login import UserMixin\nfrom sqlalchemy import"),
    ("account/models.py", "class User(Model):", "class User(UserMixin, Model):"),
    ("account/session.py", "from flask_wtf", "from flask_login import login_user\nfrom flask_wtf"),
    ("account/session.py", "import db\n", "import db, login_manager\n"),
    ("account/session.py", "    generate_csrf()\n", "    generate_csrf()\n    login_user(user)\n"),
    ("templates/account/index.html", "Hello, {{ user.name }}", "Hello, {{ current_user.name }}"),
)  # fmt: skip

USER_LOADER = '''

@login_manager.user_loader
def load_user(user_id: str) -> User | None:
    """Load who is signed in, for Flask-Login."""
    return db.session.get(User, int(user_id))
'''


#: Modules of the project's own tests that ask for pages.
TESTS = ("tests/account/test_views.py", "tests/catalog/test_views.py")


@pytest.fixture(scope="module")
def with_flask_login(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment that has Flask-Login, too."""
    (block,) = re.findall(
        r"^flask-login==.*\n(?:    --hash=.*\n)+", LOCK.read_text(encoding="utf-8"), re.MULTILINE
    )
    lock = tmp_path_factory.mktemp("lock") / "flask-login.txt"
    of_project = (TEMPLATE / "requirements" / "dev.txt").read_text(encoding="utf-8")
    lock.write_text(of_project + block, encoding="utf-8")
    return environment_of(lock)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project whose owner has added Flask-Login."""
    project = bake(tmp_path_factory.mktemp("login"))
    for name, old, new in CHANGES:
        path = project.package / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has changed: {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")
    with (project.package / "account" / "session.py").open("a", encoding="utf-8") as file:
        file.write(USER_LOADER)
    return project


@pytest.mark.network
def test_no_page_fails_and_public_pages_are_hit(shop: Project, with_flask_login: Path) -> None:
    test = shop.path / "tests" / "account" / "test_every_page.py"
    shutil.copy(Path(__file__).with_name("owners") / "every_page.py", test)
    shop.run(with_flask_login / "python", "-m", "pytest", "-q", test)


@pytest.mark.long
@pytest.mark.network
def test_the_tests_of_a_project_pass(shop: Project, with_flask_login: Path) -> None:
    # Flask-Login looks for the user for each template, by one query more.
    without = ("--deselect", "tests/account/test_views.py::test_a_list_of_wishes_is_one_query")
    shop.run(with_flask_login / "python", "-m", "pytest", "-q", *without, *TESTS)
