CREATE OR REPLACE FUNCTION announce_stock_changes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Before and after side by side; grouping them stays linear where a join would not.
    PERFORM notify_store(c.store_id, array_agg(c.product_id)) FROM (
        SELECT s.store_id, s.product_id
        FROM (TABLE old_stock UNION ALL TABLE new_stock) AS s
        GROUP BY s.store_id, s.product_id
        HAVING count(*) = 1
            OR min(s.on_hand) <> max(s.on_hand) OR min(s.reserved) <> max(s.reserved)
    ) AS c GROUP BY c.store_id;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION announce_stock_changes IS
    'Trigger: tell the live feed of each store which products'' stock a statement has really '
    'changed, whoever wrote it.';

CREATE OR REPLACE TRIGGER announce_stock_changes AFTER UPDATE ON stock
    REFERENCING OLD TABLE AS old_stock NEW TABLE AS new_stock
    FOR EACH STATEMENT EXECUTE FUNCTION announce_stock_changes();
COMMENT ON TRIGGER announce_stock_changes ON stock IS 'Once per statement, not per row.';
