CREATE VIEW category_list AS
SELECT c.store_id, c.category_id, c.name, c.parent_id, n.child_count
FROM categories AS c
CROSS JOIN LATERAL (
    SELECT count(*) AS child_count FROM categories AS d
    WHERE d.store_id = c.store_id AND d.parent_id = c.category_id
) AS n;

COMMENT ON VIEW category_list IS 'The categories of each store, with how many are right below.';
COMMENT ON COLUMN category_list.store_id IS 'The store.';
COMMENT ON COLUMN category_list.category_id IS 'The category.';
COMMENT ON COLUMN category_list.name IS 'What people call it.';
COMMENT ON COLUMN category_list.parent_id IS 'The category it is part of; null at the first level.';
COMMENT ON COLUMN category_list.child_count IS 'How many categories are part of it, directly.';
