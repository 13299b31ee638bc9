"""Lines of a file on their way into stock: a table of the store, instead of a temporary one."""

from service.database.migrate import revert_script, run_script

revision = "0019"
down_revision = "0018"

UPGRADE = """
CREATE UNLOGGED TABLE import_lines (
    store_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    line_number bigint NOT NULL,
    name text,
    quantity text,
    price text,
    problem text,
    PRIMARY KEY (store_id, product_id, line_number)
);
COMMENT ON TABLE import_lines IS
    'The lines of a file while import-stock writes them, all in one transaction: nobody else ever '
    'sees a row here.';
COMMENT ON COLUMN import_lines.store_id IS 'The store that they are for.';
COMMENT ON COLUMN import_lines.product_id IS 'The product, as it stands in the file.';
COMMENT ON COLUMN import_lines.line_number IS 'Where in the file the line begins, from 1.';
COMMENT ON COLUMN import_lines.name IS 'What people call the product; null or empty: unchanged.';
COMMENT ON COLUMN import_lines.quantity IS 'Units, as it stands in the file.';
COMMENT ON COLUMN import_lines.price IS
    'Of one unit, in minor units, as it stands in the file; null or empty: unchanged, or none.';
COMMENT ON COLUMN import_lines.problem IS 'What is wrong with the line as such; else null.';
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script("DROP TABLE import_lines;")
