CREATE OR REPLACE FUNCTION refuse_circle() RETURNS trigger
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_above text := NEW.parent_id;
BEGIN
    PERFORM lock_categories(NEW.store_id);
    WHILE v_above IS NOT NULL LOOP
        IF v_above = NEW.category_id THEN
            RAISE EXCEPTION 'Category % cannot be below itself', NEW.category_id USING
                ERRCODE = 'check_violation', HINT = 'Move it elsewhere, or to the first level.';
        END IF;
        -- FOR SHARE: a transaction that cannot see what another moved meanwhile fails here.
        SELECT c.parent_id INTO v_above FROM categories AS c
        WHERE c.store_id = NEW.store_id AND c.category_id = v_above FOR SHARE;
    END LOOP;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION refuse_circle IS
    'Trigger: no category is above itself, whoever moves it, and whatever is moved meanwhile '
    '(SQLSTATE 23514).';

CREATE OR REPLACE TRIGGER no_circles AFTER INSERT OR UPDATE OF store_id, category_id, parent_id
    ON categories FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL)
    EXECUTE FUNCTION refuse_circle();
COMMENT ON TRIGGER no_circles ON categories IS 'The tree stays one.';

CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON categories
    FOR EACH ROW EXECUTE FUNCTION record_change('categories', 'category_id');
COMMENT ON TRIGGER record_change ON categories IS 'Who added, renamed, moved, removed what.';
