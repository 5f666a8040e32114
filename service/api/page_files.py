"""The files of the page (`service/web/`), each with all that it imports: what is needed before the first paint comes
within the page, and the rest is one script."""

import re
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "web"
_TEXT = frozenset({".html", ".css", ".js", ".svg"})
_INDENTED = frozenset({".html", ".css"})
_INDENTATION = re.compile(r"^ +", re.MULTILINE)
_COMMENTED = frozenset({".css", ".js"})
_COMMENT = re.compile(r"^ *(?://.*|/\*(?:[^*]|\*(?!/))*\*/)\n", re.MULTILINE)
_IMPORT = re.compile(r'^import ({ .+ }) from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function\*?|class|const) ([\w$]+))", re.MULTILINE)
_STYLE = re.compile(r'^@import "(\w+\.css)";$', re.MULTILINE)
_INLINE = re.compile(r'<(?:script|link rel="stylesheet") data-inline (?:src|href)="/web/([\w.]+)">(?:</script>)?')
_LEFT = re.compile(r"^(?:import|export|@import)\b.*", re.MULTILINE)


def page_files() -> dict[str, str]:
    """The text of every file by its name, joined with what it imports. Raises `ValueError` for an import that is not
    understood."""
    sources = {path.name: _source(path) for path in sorted(_FOLDER.iterdir()) if path.suffix in _TEXT}
    joined = {name: _joined(name, sources) for name in sources}
    return {name: _INLINE.sub(lambda found: _element(found[1], joined), text) for name, text in joined.items()}


def _source(path: Path) -> str:
    """As it is served: without comments that have lines of their own, and markup and styles without their indentation,
    which mean nothing to a browser and are a part of the size."""
    text = path.read_text("utf-8")
    if path.suffix in _COMMENTED:
        text = _COMMENT.sub("", text)
    return _INDENTATION.sub("", text) if path.suffix in _INDENTED else text


def _element(name: str, texts: Mapping[str, str]) -> str:
    kind = "style" if name.endswith(".css") else "script"
    return f"<{kind}>{texts[name]}</{kind}>"


def _joined(name: str, sources: Mapping[str, str]) -> str:
    if name.endswith(".css"):
        return _understood(name, _STYLE.sub(lambda found: sources[found[1]], sources[name]))
    if not name.endswith(".js") or not _IMPORT.search(sources[name]):
        return sources[name]
    modules: dict[str, str] = {}
    _add_module(Path(name).stem, sources, modules)
    exported = _exported(sources[name])
    return "\n".join([*modules.values(), *([f"export const {exported} = of_{Path(name).stem};\n"] if exported else [])])


def _add_module(name: str, sources: Mapping[str, str], modules: dict[str, str]) -> None:
    """Add a module, in a scope of its own, behind those that it imports."""
    source = sources[f"{name}.js"]
    modules[name] = ""  # two that import each other are told apart from one that is here already
    for _, other in _IMPORT.findall(source):
        if other not in modules:
            _add_module(other, sources, modules)
        elif not modules[other]:
            raise ValueError(f"{name}.js and {other}.js import each other")
    text = _EXPORT.sub(r"\1", _IMPORT.sub(r"const \1 = of_\2;", source))
    del modules[name]
    lines = [
        f"const of_{name} = (() => {{",
        _understood(f"{name}.js", text),
        f"return {_exported(source) or '{}'};",
        "})();",
        "",
    ]
    modules[name] = "\n".join(lines)


def _exported(source: str) -> str:
    """What a module exports, as an object is written; empty for nothing."""
    names = [name for _, name in _EXPORT.findall(source)]
    return f"{{ {', '.join(names)} }}" if names else ""


def _understood(name: str, text: str) -> str:
    if left := _LEFT.search(text):
        raise ValueError(f"{name}: {left[0]!r} is not understood")
    return text
