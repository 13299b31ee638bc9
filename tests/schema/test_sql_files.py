"""The rules for the files of sql/; each is also shown to catch who breaks it.

Neither sqlfluff nor CREATE FUNCTION looks inside `$$` bodies: here PostgreSQL's own parser does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pglast
import pytest
from pglast import enums

from service.database import sql_files
from tests.support.sql_files import (
    Complaints,
    Files,
    functions,
    nodes,
    read_files,
    scripts,
    statements,
)

LONGEST_FUNCTION = 70  # lines, from CREATE to END $$;
LONGEST_LINE = 100
SEARCH_PATH = "SET search_path = holdfast, pg_temp"
BY_ITSELF = {"roles/roles.sql", "roles/logins.sql"}
LOWER_KEYWORDS = {"true", "false", "current_user", "session_user"}  # values, written like names
BRANCHES = {
    # The parser's nodes that choose what runs, and where they keep it; NULL; it keeps nowhere.
    "PLpgSQL_stmt_if": "then_body",
    "PLpgSQL_if_elsif": "stmts",
    "PLpgSQL_case_when": "stmts",
    "PLpgSQL_exception": "action",
    "PLpgSQL_stmt_loop": "body",
    "PLpgSQL_stmt_while": "body",
    "PLpgSQL_stmt_fori": "body",
    "PLpgSQL_stmt_fors": "body",
    "PLpgSQL_stmt_forc": "body",
    "PLpgSQL_stmt_dynfors": "body",
    "PLpgSQL_stmt_foreach_a": "body",
}


def is_parsed(files: Files) -> Complaints:
    """With the bodies, and the SQL in them."""
    for path, text in scripts(files):
        try:
            pglast.parse_sql(text)
            pglast.parse_plpgsql(text)
            for function in functions({path: text}):
                if function.language == "sql":
                    pglast.parse_sql(function.body)
        except pglast.parser.ParseError as error:
            yield f"{path}: {error}"


def is_named_as_what_it_makes(files: Files) -> Complaints:
    for path, text in scripts(files):
        made = [function.name for function in functions({path: text})]
        views = [str(node.view.relname) for kind, node in statements(text) if kind == "ViewStmt"]
        if made + views != ([] if path.startswith("roles/") else [Path(path).stem]):
            yield f"{path} makes {made + views}"
        if sql_files.is_view(text) != bool(views):
            yield f"{path}: a view's file begins with CREATE VIEW, and only that"


def may_be_run_again(files: Files) -> Complaints:
    """All but views, which are dropped first."""
    for path, text in scripts(files):
        for kind, node in statements(text):
            if kind in {"CreateFunctionStmt", "CreateTrigStmt"} and not node.replace:
                yield f"{path}: CREATE without OR REPLACE"


def is_in_the_manifest_once(files: Files) -> Complaints:
    lines = files["manifest.txt"].splitlines()
    listed = sorted(line for line in lines if line and not line.startswith("#"))
    there = [path for path, _ in scripts(files) if path not in BY_ITSELF]
    if listed != there:
        yield f"listed: {listed}, there: {there}"


def is_not_overloaded(files: Files) -> Complaints:
    names = [function.name for function in functions(files)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} is made twice"


def fits_the_page(files: Files) -> Complaints:
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > LONGEST_LINE:
                yield f"{path}:{number}: {len(line)} columns"
    for function in functions(files):
        length = function.text.count("\n") + 1
        if length > LONGEST_FUNCTION:
            yield f"{function.name}: {length} lines"


def has_plain_white_space(files: Files) -> Complaints:
    """Spaces only, none where a line ends, indented by fours; also in bodies."""
    for path, text in files.items():
        if not text.endswith("\n") or text.endswith("\n\n"):
            yield f"{path} does not end with one line end"
        for number, line in enumerate(text.split("\n"), 1):
            indent = len(line) - len(line.lstrip())
            if "\t" in line or line != line.rstrip() or indent % 4:
                yield f"{path}:{number}: white space"


def has_upper_keywords(files: Files) -> Complaints:
    """In bodies: those of SQL that can be no names. Outside of them sqlfluff sees all."""
    for function in functions(files):
        for token in pglast.scan(function.body):
            word = function.body[token.start : token.end + 1]
            is_keyword = token.kind == "RESERVED_KEYWORD" and word not in LOWER_KEYWORDS
            if is_keyword and word != word.upper():
                yield f"{function.name}: {word}"


def has_prefixed_names(files: Files) -> Complaints:
    """p_ comes in, v_ is declared; OUT columns and loop counters are named for what they are."""
    modes = enums.FunctionParameterMode
    outs = {modes.FUNC_PARAM_OUT, modes.FUNC_PARAM_TABLE}
    for function in functions(files):
        for parameter in function.node.parameters or ():
            if parameter.mode not in outs and not (parameter.name or "").startswith("p_"):
                yield f"{function.name}: input {parameter.name}"
        parsed = function.plpgsql()
        counters = {
            node["var"]["PLpgSQL_var"]["refname"]
            for kind, node in nodes(parsed)
            if kind == "PLpgSQL_stmt_fori"
        }
        for _, node in nodes(parsed["datums"]):
            # What nobody declares has no line (parameters, FOUND, TG_OP) or is among these.
            name = node.get("refname", "")
            is_declared = "lineno" in node and name not in {"(unnamed row)", "sqlstate", "sqlerrm"}
            if is_declared and name not in counters and not name.startswith("v_"):
                yield f"{function.name}: variable {name}"


def is_commented(files: Files) -> Complaints:
    for path, text in scripts(files):
        made, commented = [], []
        for kind, node in statements(text):
            if kind == "CreateFunctionStmt":
                made.append(node.funcname[-1].sval)
            elif kind == "ViewStmt":
                made.append(node.view.relname)
            elif kind == "CreateTrigStmt":
                made.append(f"{node.trigname} ON {node.relation.relname}")
            elif kind == "CommentStmt" and node.objtype == enums.ObjectType.OBJECT_FUNCTION:
                commented.append(node.object.objname[-1].sval)
            elif kind == "CommentStmt":
                # Of a trigger: its table's name, then its own.
                commented.append(" ON ".join(name.sval for name in reversed(node.object)))
        for name in made:
            if name not in commented:
                yield f"{path}: no COMMENT ON {name}"


def sets_its_search_path(files: Files) -> Complaints:
    for function in functions(files):
        if SEARCH_PATH not in function.text.partition("$$")[0]:
            yield f"{function.name} does not {SEARCH_PATH}"


def has_no_empty_branch(files: Files) -> Complaints:
    """The profiler cannot count one, so nobody would see that no test takes it."""
    for function in functions(files):
        line = 0
        for kind, node in nodes(function.plpgsql()):
            line = node.get("lineno", line)
            is_empty = kind in BRANCHES and BRANCHES[kind] not in node
            if is_empty or ("have_else" in node and "else_stmts" not in node):
                yield f"{function.name}: nothing in a branch of line {line}"


NAME = "a/good.sql"
GOOD = """\
CREATE OR REPLACE FUNCTION good(p_one int, OUT two int)
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_three int := 3;
BEGIN
    FOR i IN 1 .. p_one LOOP two := i; END LOOP;
    IF v_three = p_one THEN RETURN; END IF;
EXCEPTION
    WHEN others THEN RAISE;
END $$;

COMMENT ON FUNCTION good IS 'It.';

CREATE OR REPLACE TRIGGER run BEFORE DELETE ON stock EXECUTE FUNCTION good();
COMMENT ON TRIGGER run ON stock IS 'That.';
"""
GOOD_FILES = {NAME: GOOD, "manifest.txt": f"# In order.\n{NAME}\n"}
GOOD_FILES |= dict.fromkeys(BY_ITSELF, "SELECT;\n")
IF = "IF v_three = p_one THEN RETURN; END IF;"

Break = tuple[str, str, str]  # of GOOD what, by what, and what is said of it


class Rule(NamedTuple):
    """What all files keep, and what breaks it."""

    check: Callable[[Files], Complaints]
    broken_by: list[Break]


RULES = [
    Rule(
        is_parsed,
        [
            ("FUNCTION good(", "FUNCTION (", "syntax error"),
            ("THEN RETURN;", "THN RETURN;", 'missing "THEN"'),
            ("two := i;", "PERFORM 1 FORM x WHERE;", "syntax error"),
            ("v_three = p_one", "v_three = = p_one FROM", "syntax error"),
            ("plpgsql", "sql", "syntax error"),
        ],
    ),
    Rule(
        is_named_as_what_it_makes,
        [
            ("FUNCTION good(", "FUNCTION bad(", "makes ['bad']"),
            (
                "CREATE OR REPLACE TRIGGER",
                "CREATE VIEW v AS SELECT;\nCREATE TRIGGER",
                "['good', 'v']",
            ),
            (GOOD, "SELECT;\n", "makes []"),
            (GOOD, "-- First.\nCREATE VIEW good AS SELECT;\n", "begins with CREATE VIEW"),
        ],
    ),
    Rule(
        may_be_run_again,
        [
            ("CREATE OR REPLACE FUNCTION", "CREATE FUNCTION", "without OR REPLACE"),
            ("CREATE OR REPLACE TRIGGER", "CREATE TRIGGER", "without OR REPLACE"),
        ],
    ),
    Rule(
        is_in_the_manifest_once,
        [
            (f"{NAME}\n", "", "listed: []"),
            (f"{NAME}\n", f"{NAME}\n{NAME}\n", f"listed: ['{NAME}', '{NAME}']"),
            (f"{NAME}\n", f"{NAME}\na/gone.sql\n", "a/gone.sql"),
        ],
    ),
    Rule(is_not_overloaded, [(GOOD, GOOD + GOOD.replace("int", "text"), "good is made twice")]),
    Rule(
        fits_the_page,
        [
            ("'It.'", f"'{'x' * LONGEST_LINE}'", f"{NAME}:12: "),
            ("two := i;", "two := i;\n" * LONGEST_FUNCTION, "good: 80 lines"),
        ],
    ),
    Rule(
        has_plain_white_space,
        [
            ("    IF", "\tIF", f"{NAME}:7"),
            ("    IF", "  IF", f"{NAME}:7"),
            ("BEGIN\n", "BEGIN \n", f"{NAME}:5"),
            ("'That.';\n", "'That.';", "line end"),
            ("'That.';\n", "'That.';\n\n", "line end"),
        ],
    ),
    Rule(has_upper_keywords, [("IF v_three = p_one", "IF v_three and true", "good: and")]),
    Rule(
        has_prefixed_names,
        [
            ("p_one int", "one int", "input one"),
            ("p_one int", "int", "input None"),
            ("p_one int", "INOUT one int", "input one"),
            ("v_three int", "three int", "variable three"),
            ("v_three int", "three stock", "variable three"),
            ("v_three int", "v_three int; three record", "variable three"),
        ],
    ),
    Rule(
        is_commented,
        [
            ("COMMENT ON FUNCTION good", "COMMENT ON FUNCTION other", "no COMMENT ON good"),
            ("ON TRIGGER run ON stock", "ON TRIGGER run ON stores", "no COMMENT ON run ON stock"),
            (GOOD, "CREATE VIEW good AS SELECT 1;\n", "no COMMENT ON good"),
        ],
    ),
    Rule(
        sets_its_search_path,
        [
            (SEARCH_PATH, "STABLE", "good does not"),
            (SEARCH_PATH, "SET search_path = pg_temp, holdfast", "good does not"),
        ],
    ),
    Rule(
        has_no_empty_branch,
        [
            ("THEN RETURN;", "THEN NULL;", "branch of line 6"),
            ("THEN RETURN;", "THEN RETURN; ELSIF true THEN", "branch of line 6"),
            ("two := i;", "NULL;", "branch of line 5"),
            ("THEN RAISE;", "THEN", "branch of line 6"),
            (IF, "CASE p_one WHEN 1 THEN NULL; END CASE;", "branch of line 6"),
            (IF, "CASE p_one WHEN 1 THEN two := 1; ELSE END CASE;", "branch of line 6"),
        ],
    ),
]
NAMES = [rule.check.__name__ for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_file(rule: Rule) -> None:
    assert list(rule.check(read_files())) == []


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_rule_catches_who_breaks_it(rule: Rule) -> None:
    assert list(rule.check(GOOD_FILES)) == []
    for good, bad, said in rule.broken_by:
        broken = {path: text.replace(good, bad) for path, text in GOOD_FILES.items()}
        assert broken != GOOD_FILES
        assert said in "; ".join(rule.check(broken)), bad
