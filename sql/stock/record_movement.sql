CREATE OR REPLACE FUNCTION record_movement() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.reserved > 0 THEN
        RAISE EXCEPTION 'stock of % is reserved', OLD.product_id
            USING ERRCODE = 'object_in_use', HINT = 'Release its reservations first.';
    END IF;

    -- NEW is null on DELETE, OLD is null on INSERT.
    INSERT INTO stock_movements
        (store_id, product_id, delta, on_hand_after, reason, reference, actor)
    VALUES (
        COALESCE(NEW.store_id, OLD.store_id), COALESCE(NEW.product_id, OLD.product_id),
        COALESCE(NEW.on_hand, 0) - COALESCE(OLD.on_hand, 0), COALESCE(NEW.on_hand, 0),
        COALESCE(NULLIF(current_setting('holdfast.reason', true), ''), 'adjustment'),
        NULLIF(current_setting('holdfast.reference', true), ''),
        COALESCE(NULLIF(current_setting('holdfast.actor', true), ''), session_user)
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
    FOR EACH ROW WHEN (OLD.on_hand <> NEW.on_hand) EXECUTE FUNCTION record_movement();
COMMENT ON TRIGGER record_movement ON stock IS
    'Reserving changes "reserved" alone and costs nothing here.';

CREATE OR REPLACE TRIGGER record_last_movement AFTER DELETE ON stock
    FOR EACH ROW WHEN (OLD.on_hand <> 0) EXECUTE FUNCTION record_movement();
COMMENT ON TRIGGER record_last_movement ON stock IS 'A deleted row takes its units out.';
