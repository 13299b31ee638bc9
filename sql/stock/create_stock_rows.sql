CREATE OR REPLACE FUNCTION create_stock_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_stores text[];
    v_products text[];
BEGIN
    -- In variables, because a distributed engine has no transition table where stock is.
    SELECT array_agg(n.store_id ORDER BY n.store_id, n.product_id),
        array_agg(n.product_id ORDER BY n.store_id, n.product_id)
    INTO v_stores, v_products FROM new_products AS n;
    INSERT INTO stock (store_id, product_id)
    SELECT n.store_id, n.product_id
    FROM unnest(v_stores, v_products) AS n (store_id, product_id);
    RETURN NULL;
END $$;

COMMENT ON FUNCTION create_stock_rows IS
    'Trigger: every product has its row of stock from the start, empty.';

CREATE OR REPLACE TRIGGER create_stock_rows AFTER INSERT ON products
    REFERENCING NEW TABLE AS new_products
    FOR EACH STATEMENT EXECUTE FUNCTION create_stock_rows();
COMMENT ON TRIGGER create_stock_rows ON products IS 'A product without stock would be unknown.';
