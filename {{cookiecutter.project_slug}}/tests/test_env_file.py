"""What `.env` may hold: only what Docker Compose and python-dotenv read alike."""

import pytest
from dotenv import dotenv_values

from {{cookiecutter.package_name}} import env_file
from {{cookiecutter.package_name}}.config import ConfigurationError, load


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("A=", ""),
        ("A=''", ""),
        ("A=a=b:c/d+e%f~g", "a=b:c/d+e%f~g"),
        ("A='a$b $$c {d} \\e \"f\" #g'", 'a$b $$c {d} \\e "f" #g'),
        ("A=\"a 'b' #c\"", "a 'b' #c"),
        ("A=a#b", "a#b"),
        ("A=a b # comment", "a b"),
        ("A='b' # comment", "b"),
        ("export A=b", "b"),
    ],
)
def test_what_is_accepted_means_what_it_says(tmp_path, line, value):
    file = tmp_path / ".env"
    file.write_text(f"# comment with $ and '\n\n{line}\n")
    assert env_file.problems(file) == []
    assert dotenv_values(file) == {"A": value}


@pytest.mark.parametrize(
    "line",
    [
        "A=a$b", "A=a$$b", "A=${b}", 'A="a$b"', r"A=a\$b", r'A="a\nb"', r"A='it\'s'", r"A=a\b",
        "A='open", 'A="open', "A=a'b", 'A=a"b"', "A", "A = b", "A: b", "A='a'b", "A='${b}'",
        r"A='\\'", "A=`b`", "1A=b",
    ],
)  # fmt: skip
def test_what_is_read_in_two_ways_is_refused_without_its_value(tmp_path, line):
    file = tmp_path / ".env"
    file.write_text(f"# comment\n{line}\n")
    (problem,) = env_file.problems(file)
    assert problem.startswith(".env, line 2")
    assert "NAME='value'" in problem
    assert line.partition("=")[2] == "" or line not in problem


def test_the_flask_command_refuses_it_at_the_start(tmp_path, monkeypatch):
    assert env_file.problems(tmp_path / ".env") == [], "there is no file"
    (tmp_path / ".env").write_text("API_TOKEN=one$two\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"line 1 \(API_TOKEN\)") as refused:
        load({}, {"FLASK_RUN_FROM_CLI": "true"})
    assert "one$two" not in str(refused.value)
    assert load({}, {}), "a server does not read the file"
