CREATE OR REPLACE FUNCTION record_movement() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    -- NEW is null on DELETE, OLD is null on INSERT.
    v_store_id text := COALESCE(NEW.store_id, OLD.store_id);
    v_product_id text := COALESCE(NEW.product_id, OLD.product_id);
    v_last record;
BEGIN
    IF TG_OP = 'DELETE' AND OLD.reserved > 0 THEN
        RAISE EXCEPTION 'stock of % is reserved', OLD.product_id
            USING ERRCODE = 'object_in_use', HINT = 'Release its reservations first.';
    END IF;

    -- Whoever changes the row of stock has it locked: nobody else goes on counting meanwhile.
    SELECT m.number, m.created_at INTO v_last FROM stock_movements AS m
    WHERE m.store_id = v_store_id AND m.product_id = v_product_id
    ORDER BY m.number DESC LIMIT 1;

    INSERT INTO stock_movements (
        store_id, product_id, number, delta, on_hand_after, reason, reference, actor, created_at
    ) VALUES (
        v_store_id, v_product_id, COALESCE(v_last.number, 0) + 1,
        COALESCE(NEW.on_hand, 0) - COALESCE(OLD.on_hand, 0), COALESCE(NEW.on_hand, 0),
        COALESCE(NULLIF(current_setting('holdfast.reason', true), ''), 'adjustment'),
        NULLIF(current_setting('holdfast.reference', true), ''),
        COALESCE(NULLIF(current_setting('holdfast.actor', true), ''), session_user),
        GREATEST(clock_timestamp(), v_last.created_at)
    );
    RETURN NULL;
END $$;

COMMENT ON FUNCTION record_movement IS
    'Trigger: write the ledger row of every change of on_hand, whoever makes it. Functions say '
    'who, why and for what through set_change_context(); where nobody does, it is an adjustment '
    'by the session''s login.';

CREATE OR REPLACE TRIGGER record_first_movement AFTER INSERT ON stock
    FOR EACH ROW WHEN (NEW.on_hand <> 0) EXECUTE FUNCTION record_movement();
COMMENT ON TRIGGER record_first_movement ON stock IS 'The ledger starts with the first units.';

CREATE OR REPLACE TRIGGER record_movement AFTER UPDATE OF on_hand ON stock
    FOR EACH ROW WHEN (
        OLD.on_hand <> NEW.on_hand AND COALESCE(current_setting('holdfast.bulk', true), '') <> 'on'
    ) EXECUTE FUNCTION record_movement();
COMMENT ON TRIGGER record_movement ON stock IS
    'Reserving changes "reserved" alone and costs nothing here. Many rows at once: see '
    'record_movements.';

CREATE OR REPLACE TRIGGER record_last_movement AFTER DELETE ON stock
    FOR EACH ROW WHEN (OLD.on_hand <> 0) EXECUTE FUNCTION record_movement();
COMMENT ON TRIGGER record_last_movement ON stock IS 'A deleted row takes its units out.';
