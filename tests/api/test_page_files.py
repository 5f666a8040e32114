"""The page's files, joined with what they import."""

from pathlib import Path

import pytest

from service.api import page_files


def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **files: str) -> None:
    """These files are all there are; `a_js` is `a.js`."""
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    monkeypatch.setattr(page_files, "_FOLDER", tmp_path)


def test_a_module_comes_with_those_it_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each once, in a scope of its own, behind what it needs; what it exports keeps its name."""
    folder(
        monkeypatch,
        tmp_path,
        a_js='import { b } from "./b.js";\nimport { C } from "./c.js";\nb(C);\n',
        b_js='import { C } from "./c.js";\nexport function b(c) {}\n',
        c_js="const kept = 1;\nexport class C {}\nexport const D = kept;\nexport async function* e() {}\n",
    )

    files = page_files.page_files()

    of_c = (
        "const of_c = (() => {\nconst kept = 1;\nclass C {}\nconst D = kept;\nasync function* e() {}\n\n"
        "return { C, D, e };\n})();\n"
    )
    of_b = "const of_b = (() => {\nconst { C } = of_c;\nfunction b(c) {}\n\nreturn { b };\n})();\n"
    of_a = "const of_a = (() => {\nconst { b } = of_b;\nconst { C } = of_c;\nb(C);\n\nreturn {};\n})();\n"
    assert files["a.js"] == "\n".join([of_c, of_b, of_a])
    assert files["b.js"] == "\n".join([of_c, of_b, "export const { b } = of_b;\n"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('import * as all from "./b.js";\nimport { b } from "./b.js";\n', "a.js: 'import \\* as all"),
        ('import { b } from "./b.js";\nexport default b;\n', "a.js: 'export default b;'"),
        ('import { c } from "./c.js";\nexport const a = 1;\n', "import each other"),
    ],
)
def test_what_cannot_be_joined_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, reason: str) -> None:
    """A form of import or export that is not understood stops the start, instead of the page."""
    c_js = 'import { a } from "./a.js";\nexport const c = 1;\n'
    folder(monkeypatch, tmp_path, a_js=text, b_js="export const b = 1;\n", c_js=c_js)

    with pytest.raises(ValueError, match=reason):
        page_files.page_files()


def test_styles_and_what_is_needed_at_once_come_within_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An `@import` is replaced by the file; so is what is marked `data-inline`, by an element."""
    page = '<script data-inline src="/web/a.js"></script><link rel="stylesheet" data-inline href="/web/b.css">'
    folder(monkeypatch, tmp_path, p_html=page, a_js="a();", b_css='@import "c.css";\nb {}', c_css="c {}")

    files = page_files.page_files()

    assert files["p.html"] == "<script>a();</script><style>c {}\nb {}</style>"


def test_comments_are_not_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those with lines of their own, in scripts and styles; what only looks like one within a line stays."""
    js = '// Why.\nconst a = "http://b"; // kept\n  /**\n   * What * it is.\n   */\n  f(a);\n'
    folder(monkeypatch, tmp_path, a_js=js, b_css="/* Why. */\nb {}\n  c {} /* kept */\n")

    files = page_files.page_files()

    assert files["a.js"] == 'const a = "http://b"; // kept\n  f(a);\n'
    assert files["b.css"] == "b {}\nc {} /* kept */\n"
