"""Names are the field's own: no word of a former private dialect is defined anywhere any more."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SERVICE = ROOT / "service"

# By what they were: a class, function, attribute, variable, parameter or module of this name must not be defined.
GONE = frozenset(
    {"Workshop", "Purse", "Wanted", "Stored", "Wish", "News", "Life", "Patience", "rooms", "_grown", "Readiness"}
    | {"Demand", "linger", "Turns", "deaths", "blamed", "PutOff", "Withdrawn", "insist", "let_go", "take_up"}
    | {"JobWish", "wish", "wish_of", "_PATIENCE_SECONDS", "_FIRST_EDITION_VOLATILE"}
    | {"House", "house", "open_house", "PATIENCE", "_PATIENCE", "patience", "patiently", "explained", "_INCOMING"}
    | {"Standing", "Words", "_STEP", "_SETTLE", "_Place"}
    | {"bring_up_to", "_take_in", "_told_apart", "Step", "Hint", "Pace", "Incoming", "Space", "running_key"}
    | {
        "FACTS",
        "explain",
        "encourage",
        "Looks",
        "_Looks",
        "next_look",
        "Sighting",
        "sightings",
        "hot",
        "keep_hot",
        "is_cut",
    }
)
# Of archives, this is the key of their options; of sockets and metrics it is the field's own word.
FAMILY = ("service/archives", "service/images", "service/orders", "service/cluster")
# What a script defines, names of its private members included.
_SCRIPT_NAME = re.compile(r"(?:\b(?:class|function|const|let|var)\s+|\.?#)([A-Za-z_$][\w$]*)")
_SCRIPT_PARAMETERS = re.compile(r"\(([^()]*)\)\s*(?:=>|\{)")
# What was said to people in no native speaker's words.
GONE_PHRASES = (
    "a rest after",
    "given a rest",
    "how-manieth",
    "background work broke",
    "there is no such parameter",
    "of no use any more",
)
TEXTS = frozenset({".py", ".js", ".html", ".css", ".md", ".json", ".yml", ".yaml", ".toml", ".tpl"})
IGNORED = frozenset({"vendor", "node_modules"})
GONE_IN_SCRIPTS = frozenset({"putOff", "isPutOff", "LONGEST_POLL", "LONGEST_PAUSE"})
# As names of parameters they said too little.
GONE_PARAMETERS = frozenset({"words", "most", "longest", "told"})
# Modules that were called by a word of the dialect, or by one that meant several things.
GONE_MODULES = frozenset(
    {"workshop", "purse", "wanted", "wish", "news", "life", "patience", "rooms", "readiness", "demand", "turns"}
    | {"steps", "step", "hint", "pace", "incoming", "space", "sharing", "shared", "facts", "polling", "transmission"}
)
# Files of these folders are called as what they serve, which is called the same elsewhere: a resource of this API or
# of the one that the sandbox stands in for, a kind of record that instances share, a command.
CALLED_AS_WHAT_THEY_SERVE = ("api", "cluster", "commands", "sandbox")


def files() -> list[Path]:
    """Every file of the service and its tests but this one."""
    found = [path for folder in ("service", "tests") for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if path != Path(__file__))


def parsed(words: Iterable[str]) -> Iterator[tuple[Path, ast.AST]]:
    """The files in which one of the words stands at all: to parse them all takes seconds."""
    word = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b")
    for path in files():
        if word.search(text := path.read_text()):
            yield path, ast.parse(text)


def defined(tree: ast.AST) -> Iterator[tuple[str, bool, int]]:
    """Every name that is defined in a file: the name, whether it is a parameter, and the line."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name, False, node.lineno
            case ast.arg():
                yield node.arg, True, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, False, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, False, node.lineno
            case ast.alias() if node.asname is not None:
                yield node.asname, False, node.lineno


def test_no_former_name_is_defined() -> None:
    """Neither in the service nor in its tests."""
    looked_at = 0
    offences = []
    for path, tree in parsed(GONE | GONE_PARAMETERS | {"family"}):
        for name, is_parameter, line in defined(tree):
            looked_at += 1
            place = str(path.relative_to(ROOT))
            is_former = name in GONE or (name == "family" and place.startswith(FAMILY))
            if is_former or (is_parameter and name in GONE_PARAMETERS):
                offences.append(f"{place}:{line}: {name}")
    modules = [path for path in files() if {path.stem, path.stem.removeprefix("test_")} & GONE_MODULES]
    offences += [str(path.relative_to(ROOT)) for path in modules]

    assert looked_at > 1_000
    assert len(files()) > 500
    assert offences == []


def test_no_former_name_is_defined_in_scripts() -> None:
    """Neither in the page's own nor in those of its tests."""
    looked_at = 0
    offences = []
    for path in (*SERVICE.glob("web/*.js"), *(ROOT / "tests" / "e2e" / "page").glob("*.js")):
        offences += [str(path.relative_to(ROOT))] if path.stem in GONE_MODULES else []
        for found in _SCRIPT_NAME.finditer(path.read_text()):
            looked_at += 1
            if found[1] in GONE or found[1] in GONE_IN_SCRIPTS:
                offences.append(f"{path.relative_to(ROOT)}: {found[1]}")
        for parameters in _SCRIPT_PARAMETERS.findall(path.read_text()):
            given = GONE_PARAMETERS & set(re.findall(r"\w+", parameters))
            offences += [f"{path.relative_to(ROOT)}: parameter {name}" for name in given]

    assert looked_at > 800
    assert offences == []


def test_no_former_phrase_is_said() -> None:
    """In no text that we wrote: messages, log lines and titles, the guide, the page, dashboards, alerts, manifests."""
    looked_at = 0
    offences = []
    for folder in ("service", "tests", "grafana", "deploy"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix not in TEXTS or IGNORED & set(path.parts) or path == Path(__file__):
                continue
            looked_at += 1
            text = path.read_text().lower()
            offences += [f"{path.relative_to(ROOT)}: {phrase}" for phrase in GONE_PHRASES if phrase in text]

    assert looked_at > 700
    assert offences == []


def test_no_two_modules_of_one_name_mean_different_things() -> None:
    """What is called `archives` is one thing; a folder may hold the file that it is named after."""
    modules: dict[str, list[str]] = defaultdict(list)
    for path in SERVICE.rglob("*.py"):
        place = path.relative_to(SERVICE)
        if place.parts[0] not in CALLED_AS_WHAT_THEY_SERVE and path.stem not in ("__init__", "__main__"):
            modules[path.stem].append(str(place))

    assert len(modules) > 50
    assert {stem: places for stem, places in modules.items() if len(places) > 1} == {}


def test_an_address_is_not_a_word_for_two_things() -> None:
    """Of a machine it is an IP address, of a resource a URL: no class, function or module is a bare `address`."""
    bare = re.compile(r"_?address(?:es)?", re.IGNORECASE)
    definition = re.compile(rf"^\s*(?:class|(?:async )?def) ({bare.pattern})\b", re.IGNORECASE | re.MULTILINE)
    looked_at = files()
    offences = [str(path.relative_to(ROOT)) for path in looked_at if bare.fullmatch(path.stem.removeprefix("test_"))]
    for path in looked_at:
        offences += [f"{path.relative_to(ROOT)}: {name}" for name in definition.findall(path.read_text())]

    assert len(looked_at) > 500
    assert offences == []
