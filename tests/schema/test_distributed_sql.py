"""SQL that a distributed engine takes, too; each rule is also shown to catch who breaks it.

Seen on Citus 13.2 with all tables distributed by store_id: what is refused there costs nothing to
write otherwise here. `KNOWN` lists who still breaks a rule, and may only ever get shorter.
"""

import importlib.util
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import pglast
import pytest

from service.database import migrate
from service.settings import ROOT
from tests.support.sql_files import (
    Complaints,
    Files,
    Function,
    functions,
    is_a,
    read_files,
    scripts,
    statements,
    walk,
)
from tests.support.sql_scopes import Scope, calls, scopes

REVISIONS = ROOT / "alembic" / "versions"
FIRST_REVISION = "0008"
"""Those before it were written without these rules, and are released."""
TABLES = {
    table
    for path in REVISIONS.glob("*.py")
    for table in re.findall(r"CREATE (?:UNLOGGED )?TABLE (\w+)", path.read_text())
}
VOLATILE = {
    "clock_timestamp", "timeofday", "random", "gen_random_uuid", "nextval", "setval", "currval",
    "set_config", "pg_notify", "pg_sleep", "pg_advisory_xact_lock", "pg_try_advisory_xact_lock",
}  # fmt: skip
"""Of PostgreSQL's own, those that somebody may want."""

KNOWN: dict[str, set[str]] = {}


class House(NamedTuple):
    """All of sql/, parsed once."""

    functions: list[Function]
    queries: list[tuple[str, Any]]
    """What a function or a view runs, by its name."""
    views: set[str]
    transition_tables: set[str]

    def function(self, name: str) -> Function | None:
        return next((each for each in self.functions if each.name == name), None)

    def is_relation(self, scope: Scope, name: str) -> bool:
        """Whether a name in FROM stands for a table or a view, not for a CTE."""
        return name not in scope.ctes and "." not in name

    def reading(self) -> set[str]:
        """The functions that read tables, by themselves or through others."""
        found = {
            name
            for name, query in self.queries
            for scope in scopes(query)
            if any(self.is_relation(scope, table) for table in scope.tables.values())
        } & {each.name for each in self.functions}
        while True:
            more = {name for name, query in self.queries if found.intersection(calls(query))}
            if more <= found | self.views:
                return found
            found |= more - self.views


def read_house(files: Files) -> House:
    made = list(functions(files))
    queries = [(each.name, query) for each in made for query in each.queries()]
    views, transition_tables = set(), set()
    for _, text in scripts(files):
        for kind, node in statements(text):
            if kind == "ViewStmt":
                views.add(node.view.relname)
                queries.append((node.view.relname, node.query))
            if kind == "CreateTrigStmt":
                transition_tables |= {each.name for each in node.transitionRels or ()}
    return House(made, queries, views, transition_tables)


def no_volatile_call_where_rows_change(house: House) -> Complaints:
    """A variable before it: `v_now timestamptz := clock_timestamp()`."""
    volatile = VOLATILE | {f.name for f in house.functions if f.option("volatility") is None}
    for name, query in house.queries:
        for node in walk(query):
            is_upsert = is_a(node, "InsertStmt") and node.onConflictClause
            if is_upsert or is_a(node, "UpdateStmt", "DeleteStmt"):
                yield from (f"{name}: {each}" for each in calls(node) if each in volatile)


def no_sql_function_reads_tables(house: House) -> Complaints:
    reading = house.reading()
    for function in house.functions:
        if function.language == "sql" and function.name in reading:
            yield function.name


def no_reading_function_inside_a_query_over_tables(house: House) -> Complaints:
    """A query that runs on a shard cannot ask the cluster: join, or call it by itself."""
    reading = house.reading()
    for name, query in house.queries:
        has_tables = any(
            house.is_relation(scope, table)
            for scope in scopes(query)
            for table in scope.tables.values()
        )
        if has_tables:
            yield from (f"{name}: {each}" for each in calls(query) if each in reading)


def no_correlated_subquery(house: House) -> Complaints:
    """Join instead; LATERAL is one, where it says the store."""
    for name, query in house.queries:
        inside = [node.subselect for node in walk(query) if is_a(node, "SubLink")]
        for scope in scopes(query):
            if scope.outer and scope.tables and scope.node in inside:
                for node in walk(scope.node):
                    first = node.fields[0] if is_a(node, "ColumnRef") else None
                    owner = getattr(first, "sval", "") if first and len(node.fields) > 1 else ""
                    if owner and not scope.knows(owner) and scope.outer.finds(owner):
                        yield f"{name}: {', '.join(scope.tables)} by {owner}"


def reads_one_store(house: House) -> Complaints:
    """`store_id = p_store_id` for each table, or joined by it to one that has it."""
    for function in house.functions:
        is_per_store = "p_store_id" in function.parameters or _is_trigger(function)
        for name, query in house.queries:
            if name == function.name and is_per_store:
                for scope in scopes(query):
                    yield from _loose_tables(house, scope, name)


def _is_trigger(function: Function) -> bool:
    returned = function.node.returnType
    return bool(returned) and returned.names[-1].sval == "trigger"


def _loose_tables(house: House, scope: Scope, name: str) -> Complaints:
    if is_a(scope.node, "InsertStmt"):
        columns = [column.name for column in scope.node.cols or ()]
        if "store_id" not in columns:
            yield f"{name}: INSERT INTO {scope.node.relation.relname}"
        return
    for alias, table in scope.tables.items():
        linked = {scope.tables.get(each) for each in scope.group(alias)}
        is_of_the_statement = bool(linked & house.transition_tables)
        is_pinned = is_of_the_statement or scope.is_pinned(alias)
        if house.is_relation(scope, table) and not is_pinned:
            yield f"{name}: {table}"


def joins_on_the_store(house: House) -> Complaints:
    """In what looks at all stores: views, and functions without p_store_id."""
    per_store = {
        each.name
        for each in house.functions
        if "p_store_id" in each.parameters or _is_trigger(each)
    }
    for name, query in house.queries:
        for scope in scopes(query) if name not in per_store else ():
            sides = [*scope.tables, *scope.others]
            apart = [each for each in sides if each not in scope.group(sides[0])]
            if apart:
                yield f"{name}: {sides[0]} and {', '.join(apart)}"


def no_temporary_table(house: House) -> Complaints:
    """A table that no revision makes."""
    known = TABLES | house.views | house.transition_tables
    for name, query in house.queries:
        for scope in scopes(query):
            for table in scope.tables.values():
                if house.is_relation(scope, table) and table not in known:
                    yield f"{name}: {table}"


def no_transition_table_in_an_insert(house: House) -> Complaints:
    """Into a variable first: on a shard there is none of that name."""
    for name, query in house.queries:
        for node in walk(query):
            if is_a(node, "InsertStmt"):
                for scope in scopes(node):
                    for table in house.transition_tables.intersection(scope.tables.values()):
                        yield f"{name}: {table}"


def no_name_of_a_shard_is_shown(house: House) -> Complaints:
    """TG_TABLE_NAME is users_102034 there: a trigger's argument names the table."""
    for function in house.functions:
        if re.search(r"\bTG_(TABLE|REL)_?NAME\b", function.body):
            yield function.name


NAME = "a/good.sql"
GOOD = """\
CREATE OR REPLACE FUNCTION good(p_store_id text, p_login text) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE users AS u SET created_at = v_now
    FROM accounts AS a
    WHERE u.store_id = p_store_id AND a.store_id = u.store_id AND u.user_id = a.user_id;
    INSERT INTO users (store_id, login) VALUES (p_store_id, p_login)
    ON CONFLICT (store_id, login) DO UPDATE SET created_at = v_now;
    PERFORM FROM users JOIN accounts USING (store_id, user_id) WHERE store_id = p_store_id;
    PERFORM good(p_store_id, p_login);
END $$;
CREATE OR REPLACE FUNCTION of_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_users text[] := ARRAY(SELECT n.login FROM new_users AS n);
BEGIN
    INSERT INTO users (store_id) SELECT NEW.store_id FROM unnest(v_users);
    PERFORM FROM accounts AS a JOIN new_users AS n USING (store_id, user_id);
    RAISE EXCEPTION '%', TG_ARGV[0];
END $$;
CREATE OR REPLACE TRIGGER of_row AFTER INSERT ON users REFERENCING NEW TABLE AS new_users
    FOR EACH STATEMENT EXECUTE FUNCTION of_row('users');
"""
GOOD_VIEW = """\
CREATE VIEW many AS
SELECT u.login, l.balance FROM users AS u
CROSS JOIN LATERAL (SELECT a.balance FROM accounts AS a WHERE a.store_id = u.store_id) AS l
JOIN (SELECT store_id FROM stores) AS s ON s.store_id = u.store_id;
"""
GOOD_FILES = {NAME: GOOD, "a/many.sql": GOOD_VIEW}

Break = tuple[str, str, str]  # of the good files what, by what, and what is said of it


class Rule(NamedTuple):
    """What all of sql/ keeps, and what breaks it."""

    check: Callable[[House], Complaints]
    broken_by: list[Break]


RULES = [
    Rule(
        no_volatile_call_where_rows_change,
        [
            ("SET created_at = v_now\n", "SET created_at = clock_timestamp()\n", "good: clock"),
            ("UPDATE SET created_at = v_now", "UPDATE SET login = random()", "good: random"),
            ("SET created_at = v_now\n", "SET login = good('', '')\n", "good: good"),
        ],
    ),
    Rule(
        no_sql_function_reads_tables,
        [
            (GOOD, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'TABLE users';", "f"),
            (
                GOOD_VIEW,
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT good('''', '''')';",
                "f",
            ),
        ],
    ),
    Rule(
        no_reading_function_inside_a_query_over_tables,
        [
            ("AND u.user_id = a.user_id", "AND good(u.login, '') IS NULL", "good: good"),
            ("SELECT u.login", "SELECT good(u.store_id, u.login) AS login", "many: good"),
            ("good(p_store_id, p_login)", "good('', (SELECT login FROM users))", "good: good"),
        ],
    ),
    Rule(
        no_correlated_subquery,
        [
            (
                "AND u.user_id = a.user_id",
                "AND EXISTS (SELECT FROM stores AS s WHERE s.store_id = u.store_id)",
                "good: s by u",
            ),
            (
                "SELECT u.login",
                "SELECT (SELECT name FROM stores WHERE name = u.login) AS login",
                "many: stores by u",
            ),
        ],
    ),
    Rule(
        reads_one_store,
        [
            ("u.store_id = p_store_id AND", "", "good: users; good: accounts"),
            ("a.store_id = u.store_id AND", "", "good: accounts"),
            ("(store_id, user_id) WHERE", "(user_id) WHERE users.", "good: accounts"),
            ("USING (store_id, user_id);", "USING (user_id);", "of_row: accounts"),
            ("INTO users (store_id)", "INTO users (login)", "of_row: INSERT INTO users"),
            ("JOIN accounts USING", "JOIN (TABLE accounts) AS a USING", "good: accounts"),
        ],
    ),
    Rule(
        joins_on_the_store,
        [
            ("ON s.store_id = u.store_id", "ON true", "many: u and s"),
            ("WHERE a.store_id = u.store_id", "", "many: u and l"),
        ],
    ),
    Rule(no_temporary_table, [("JOIN accounts USING", "JOIN lines USING", "good: lines")]),
    Rule(
        no_transition_table_in_an_insert,
        [("FROM unnest(v_users)", "FROM new_users", "of_row: new_users")],
    ),
    Rule(no_name_of_a_shard_is_shown, [("TG_ARGV[0]", "TG_TABLE_NAME", "of_row")]),
]
NAMES = [rule.check.__name__ for rule in RULES]


@pytest.fixture(scope="module")
def house() -> House:
    return read_house(read_files())


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_function_and_view(rule: Rule, house: House) -> None:
    """Whoever mends one takes it from KNOWN; nobody adds to that."""
    assert set(rule.check(house)) == KNOWN.get(rule.check.__name__, set())


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_rule_catches_who_breaks_it(rule: Rule) -> None:
    assert list(rule.check(read_house(GOOD_FILES))) == []
    for good, bad, said in rule.broken_by:
        broken = {path: text.replace(good, bad) for path, text in GOOD_FILES.items()}
        assert broken != GOOD_FILES, good
        assert said in "; ".join(rule.check(read_house(broken))), bad


def read_revisions() -> Iterator[tuple[str, list[str]]]:
    """Each revision under the rules, and what it sends, both ways."""
    for path in sorted(REVISIONS.glob("*.py")):
        if path.stem[:4] >= FIRST_REVISION:
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec
            assert spec.loader
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            yield path.stem, sent_by(module)


def sent_by(module: ModuleType) -> list[str]:
    """What a revision runs, without a database."""
    sent: list[str] = []
    op = MagicMock()
    op.execute = sent.append
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "op", op, raising=False)
        for name in ("create_extension", "drop_extension"):
            patch.setattr(module, name, lambda name: "public", raising=False)
        for name in ("run_script", "revert_script"):
            patch.setattr(
                module, name, lambda text: sent.extend(migrate.split_script(text)), raising=False
            )
        for name in ("create_extension", "drop_extension"):
            patch.setattr(module, name, lambda _: None, raising=False)
        module.upgrade()
        module.downgrade()
    return sent


def alters_one_thing_at_a_time(sent: list[str]) -> Complaints:
    """One statement an execute; of a constraint nothing else, and by its name."""
    for text in sent:
        parsed = pglast.parse_sql(text)
        if len(parsed) != 1:
            yield f"{len(parsed)} statements: {text}"
        for raw in parsed:
            statement: Any = raw.stmt
            commands = statement.cmds if is_a(statement, "AlterTableStmt") else ()
            constraints = [each for command in commands for each in _constraints(command)]
            if constraints and len(commands) > 1:
                yield f"a constraint among others: {text}"
            if "" in constraints:
                yield f"a constraint without a name: {text}"


def _constraints(command: Any) -> Iterator[str]:
    """The names of the constraints that a command of ALTER TABLE adds or drops."""
    if command.subtype.name == "AT_DropConstraint":
        yield command.name
    for node in walk(command.def_):
        is_constraint = is_a(node, "Constraint") and node.contype.name not in {
            "CONSTR_NULL", "CONSTR_NOTNULL", "CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"
        }  # fmt: skip
        if is_constraint:
            yield node.conname or ""


def test_every_revision_alters_one_thing_at_a_time() -> None:
    found = {name: list(alters_one_thing_at_a_time(sent)) for name, sent in read_revisions()}
    assert {name: complaints for name, complaints in found.items() if complaints} == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)", ""),
        ("ALTER TABLE t ADD a int NOT NULL DEFAULT 1, ADD b int", ""),
        ("ALTER TABLE t DROP CONSTRAINT c, ADD CONSTRAINT c CHECK (a > 0)", "among others"),
        ("ALTER TABLE t ADD a int, ADD CONSTRAINT c CHECK (a > 0)", "among others"),
        ("ALTER TABLE t ADD CHECK (a > 0)", "without a name"),
        ("ALTER TABLE t ADD a int CHECK (a > 0)", "without a name"),
        ("SELECT 1; SELECT 2", "2 statements"),
    ],
)
def test_a_revision_that_alters_more_is_caught(text: str, said: str) -> None:
    complaints = list(alters_one_thing_at_a_time([text]))
    assert said in "; ".join(complaints)
    assert bool(said) == bool(complaints)


def test_a_script_is_split_into_its_statements() -> None:
    first = "DO $$ BEGIN PERFORM 1; END $$"
    second = """COMMENT ON TABLE "a;b" IS 'it''s; -- that' /* ; */"""
    third = "-- Why; so.\nSELECT $x$ ; $$ ; $x$, $1 - 1"
    assert migrate.split_script(f"{first};\n{second}; ;\n{third};\n-- End;\n") == [
        first,
        second,
        third,
    ]


def test_scripts_of_released_revisions_split_as_the_parser_does() -> None:
    for path in sorted(REVISIONS.glob("*.py")):
        for text in re.findall(r'GRADE = f?"""(.*?)"""', path.read_text(), re.DOTALL):
            script = text.replace("{{", "{").replace("}}", "}")
            expected = [raw.stmt for raw in pglast.parse_sql(script)]
            split = [pglast.parse_sql(each)[0].stmt for each in migrate.split_script(script)]
            assert split == expected


def test_nothing_of_the_service_makes_a_temporary_table() -> None:
    for path in (ROOT / "service").rglob("*.py"):
        assert not re.search(r"CREATE\s+(TEMP|LOCAL|GLOBAL)", path.read_text()), path
