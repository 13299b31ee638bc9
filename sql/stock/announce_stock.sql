CREATE OR REPLACE FUNCTION announce_stock() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM notify_store(c.store_id, array_agg(c.product_id))
    FROM changed_stock AS c WHERE c.on_hand <> 0 GROUP BY c.store_id;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION announce_stock IS
    'Trigger: tell the live feed of each store which products came or went with their stock, '
    'whoever did it. What is at zero is in no report.';

CREATE OR REPLACE TRIGGER announce_inserted_stock AFTER INSERT ON stock
    REFERENCING NEW TABLE AS changed_stock
    FOR EACH STATEMENT EXECUTE FUNCTION announce_stock();
COMMENT ON TRIGGER announce_inserted_stock ON stock IS 'New stock is on the feed.';

CREATE OR REPLACE TRIGGER announce_deleted_stock AFTER DELETE ON stock
    REFERENCING OLD TABLE AS changed_stock
    FOR EACH STATEMENT EXECUTE FUNCTION announce_stock();
COMMENT ON TRIGGER announce_deleted_stock ON stock IS 'Stock that is gone is on the feed.';
