"""The page's files: what is in the tables is there, and the other way round."""

from __future__ import annotations

from importlib.resources import files

import pytest

from shmperf.views.page import SCRIPTS, STYLES, filled, kind_of, linked, text_of


def test_each_file_is_in_a_table_and_each_name_a_file() -> None:
    """A script that nobody loads is no part of the page; a notice is for people."""
    folder = files("shmperf.views") / "page"
    there = {file.name for file in folder.iterdir()} - {"index.html"}
    assert {name for name in there if not name.endswith(".LICENSE")} == {*STYLES, *SCRIPTS}


@pytest.mark.parametrize("name", ["", "..", "../page.py", "index.htm", "page.py", "/etc/passwd"])
def test_other_names_are_no_files(name: str) -> None:
    """What is not in the tables can't be had, whatever lies on the disk."""
    with pytest.raises(KeyError):
        text_of(name)


@pytest.mark.parametrize("name", [*STYLES, *SCRIPTS])
def test_each_file_can_stand_within_a_page(name: str) -> None:
    """No style or script ends the element that it stands in."""
    text = text_of(name).lower()
    assert not [end for end in ("</script", "</style", "<!--") if end in text]
    assert kind_of(name).startswith("text/")


def test_the_linked_page_has_no_code_within() -> None:
    """A policy that forbids inline scripts and styles forbids nothing that the page needs."""
    page = linked()
    assert page.count("<script") == len(SCRIPTS) == page.count('<script defer src="/static/')
    assert "<style" not in page
    assert " style=" not in page
    # A namespace is no address that anybody goes to.
    assert "//" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_page_is_filled_with_what_it_is_given() -> None:
    """Styles come before the body, scripts at its end."""
    page = filled("<style>a</style>", "<script>b</script>")
    assert page.index("<style>a") < page.index("<body") < page.index("<script>b")
