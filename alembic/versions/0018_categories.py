"""Categories: a tree of any depth, and the one that a product belongs to."""

from service.database.migrate import revert_script, run_script

revision = "0018"
down_revision = "0017"

# As in 0001: 1-64 visible characters without ":", which is kept for ids made here.
UNSEEN = r"\u0001-\u0020\u007F-\u00A0\u1680\u2000-\u200F\u2028-\u202F\u205F-\u206F\u3000\uFEFF"

UPGRADE = f"""
CREATE TABLE categories (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    category_id text COLLATE "C" NOT NULL CHECK (category_id ~ '^[^{UNSEEN}:]{{1,64}}$'),
    name text NOT NULL,
    parent_id text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, category_id),
    FOREIGN KEY (store_id, parent_id) REFERENCES categories
);
CREATE INDEX categories_by_parent ON categories (store_id, parent_id, category_id);
COMMENT ON TABLE categories IS 'What kinds of products a store has: a tree of any depth.';
COMMENT ON COLUMN categories.store_id IS 'The store.';
COMMENT ON COLUMN categories.category_id IS 'Chosen outside: 1-64 visible characters, no colon.';
COMMENT ON COLUMN categories.name IS 'What people call it; may be empty.';
COMMENT ON COLUMN categories.parent_id IS
    'The category it is part of; null at the first level. A trigger refuses circles.';
COMMENT ON COLUMN categories.created_at IS 'When it was created here.';

ALTER TABLE products ADD COLUMN category_id text COLLATE "C";
ALTER TABLE products ADD CONSTRAINT products_of_a_category
    FOREIGN KEY (store_id, category_id) REFERENCES categories;
CREATE INDEX products_by_category ON products (store_id, category_id, product_id)
    WHERE category_id IS NOT NULL;
COMMENT ON COLUMN products.category_id IS 'The one category it belongs to; null: none.';
"""

DOWNGRADE = """
ALTER TABLE products DROP COLUMN category_id;
DROP TABLE categories;
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
