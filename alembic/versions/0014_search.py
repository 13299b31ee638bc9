"""Products are found by any part of their name or id without reading the catalog.

An index of trigrams (pg_trgm), led by the store (btree_gin), so that one store's many matches cost
another nothing: 300,000 products take some 25 MB, and a second and a half more to write.
"""

from alembic import op

from service.database.migrate import create_extension, drop_extension, revert_script, run_script

revision = "0014"
down_revision = "0013"

INDEX = "products_by_trigrams"


def upgrade() -> None:
    create_extension("btree_gin")
    schema = create_extension("pg_trgm")
    # Whoever brings new items in does not wait for the index; an attempt that was killed left
    # one that is not valid.
    with op.get_context().autocommit_block():
        run_script(f"DROP INDEX IF EXISTS {INDEX}")
        run_script(
            f"CREATE INDEX CONCURRENTLY {INDEX} ON products USING gin"
            f" (store_id, product_id {schema}.gin_trgm_ops, name {schema}.gin_trgm_ops)"
        )


def downgrade() -> None:
    revert_script(f"DROP INDEX {INDEX}")
    drop_extension("pg_trgm")
    drop_extension("btree_gin")
