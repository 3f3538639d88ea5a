"""Every page's commands are run, and what holds pages to their word is held to its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .pages import ROOT, blocks, check, runs

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_COMMANDS = [page for page in PAGES if runs(page.read_text())]

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the pages are written for bash")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@needs_bash
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_the_commands_of_a_page_do_what_it_says(page, tmp_path):
    check(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_links_only_to_what_exists(page):
    import re

    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES[1:], ids=name)
def test_a_sample_of_code_or_settings_has_a_file_name_so_that_the_commands_use_it(page):
    nameless = [b.line for b in blocks(page.read_text()) if b.language in ("python", "toml") and b.title is None]
    assert nameless == []


PAGE = """
```python title="greet.py"
print("hello, 3 times")
```

```console
$ python greet.py
hello, 5 times
$ false
$ echo $?
1
$ who=you
$ echo "$who" \\
>   and me
you and me
```
"""


@needs_bash
class TestTheRunner:
    """What a page may say, and what it may not get away with."""

    def run(self, folder, text):
        page = folder / "page.md"
        page.write_text(text)
        check(page, folder)

    def test_a_true_page_passes(self, tmp_path):
        self.run(tmp_path, PAGE)

    @pytest.mark.parametrize(
        ("true", "untrue"),
        [
            ("hello, 5", "goodbye, 5"),
            ("hello, 5 times\n", "hello, 5 times\nand a line more\n"),
            ("hello, 5 times\n", ""),
            ("python greet.py", "python greets.py"),
            ("$ false\n", "$ true\n"),
            ("?\n1", "?\n2"),
            ("$ false\n$ echo $?\n1\n", "$ false\n"),
            ("$ who=you\n", ""),
            ("$ who=you\n", "$ exit\n"),
        ],
    )
    def test_an_untrue_page_fails(self, tmp_path, true, untrue):
        assert true in PAGE
        with pytest.raises(AssertionError, match=r"page\.md:\d+|bash ended"):
            self.run(tmp_path, PAGE.replace(true, untrue))

    def test_anything_may_be_left_out_where_the_page_says_so(self, tmp_path):
        self.run(tmp_path, PAGE.replace("hello, 5 times", "hello, ... times"))
