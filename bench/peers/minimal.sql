-- The least that reserves: one UPDATE with the check, one INSERT, bigint keys, no feed, no ledger.
CREATE TABLE stock (
    product_id bigint PRIMARY KEY,
    on_hand bigint NOT NULL,
    reserved bigint NOT NULL DEFAULT 0,
    CHECK (0 <= reserved AND reserved <= on_hand)
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0.02);

CREATE TABLE reservations (
    reservation_id bigint PRIMARY KEY,
    product_id bigint NOT NULL,
    quantity bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION reserve(p_reservation_id bigint, p_product_id bigint, p_quantity bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_reserved bigint;
BEGIN
    UPDATE stock SET reserved = reserved + p_quantity
    WHERE product_id = p_product_id AND on_hand - reserved >= p_quantity
    RETURNING reserved INTO v_reserved;
    IF v_reserved IS NULL THEN
        RETURN 'insufficient_stock';
    END IF;
    INSERT INTO reservations (reservation_id, product_id, quantity)
    VALUES (p_reservation_id, p_product_id, p_quantity);
    RETURN 'ok';
END $$;
