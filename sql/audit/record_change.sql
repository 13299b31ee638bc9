CREATE OR REPLACE FUNCTION record_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_old jsonb := COALESCE(to_jsonb(OLD), '{}');  -- OLD is null on INSERT, NEW on DELETE
    v_new jsonb := COALESCE(to_jsonb(NEW), '{}');
    v_details jsonb;
BEGIN
    SELECT jsonb_object_agg(key, CASE
        WHEN key = ANY (TG_ARGV[2:]) THEN '"not shown"'
        ELSE jsonb_strip_nulls(jsonb_build_object('from', o.value, 'to', n.value)) END)
    INTO v_details
    FROM jsonb_each(v_old) AS o FULL JOIN jsonb_each(v_new) AS n USING (key)
    WHERE o.value IS DISTINCT FROM n.value;

    INSERT INTO audit_log (store_id, subject, action, details, actor)
    VALUES (
        (v_old || v_new) ->> 'store_id',
        format('%s/%s', TG_ARGV[0], (v_old || v_new) ->> TG_ARGV[1]),
        lower(TG_OP), COALESCE(v_details, '{}'),
        COALESCE(NULLIF(current_setting('holdfast.actor', true), ''), session_user)
    );
    RETURN NULL;
END $$;

COMMENT ON FUNCTION record_change IS
    'Trigger: write the audit row of a change, whoever makes it. Its arguments: the table, the '
    'column that names the row, then those whose values are not shown. The actor is the one of '
    'set_change_context(), else the session''s login.';

CREATE OR REPLACE TRIGGER record_change AFTER UPDATE OR DELETE ON stores
    FOR EACH ROW EXECUTE FUNCTION record_change('stores', 'store_id');
COMMENT ON TRIGGER record_change ON stores IS 'Who renamed a store; put_store() says who made it.';

CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION record_change('users', 'user_id', 'password_hash', 'email');
COMMENT ON TRIGGER record_change ON users IS 'Who made, changed, disabled whom.';

CREATE OR REPLACE TRIGGER record_change AFTER INSERT ON user_links
    FOR EACH ROW WHEN (NEW.purpose = 'reset')
    EXECUTE FUNCTION record_change('user_links', 'user_id', 'token_hash');
COMMENT ON TRIGGER record_change ON user_links IS 'Who made a link that sets a new password.';

-- That a code was used is no change of it.
CREATE OR REPLACE TRIGGER record_change
    AFTER INSERT OR UPDATE OF store_id, user_id, secret, confirmed_at OR DELETE ON user_totp
    FOR EACH ROW EXECUTE FUNCTION record_change('user_totp', 'user_id', 'secret');
COMMENT ON TRIGGER record_change ON user_totp IS
    'Who began and who ceased to sign in with one-time passwords.';

-- That a key was used is no change of it.
CREATE OR REPLACE TRIGGER record_change
    AFTER INSERT OR UPDATE OF store_id, key_id, key_hash, name, scopes, expires_at, revoked_at
        OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION record_change('api_keys', 'key_id', 'key_hash');
COMMENT ON TRIGGER record_change ON api_keys IS 'Who made and who revoked a key.';

-- What functions do to accounts stands in the ledger.
CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON accounts
    FOR EACH ROW WHEN (COALESCE(current_setting('holdfast.actor', true), '') = '')
    EXECUTE FUNCTION record_change('accounts', 'account_id');
COMMENT ON TRIGGER record_change ON accounts IS 'What was done to money by hand.';

-- New products come by the million, with the ledger of their units.
CREATE OR REPLACE TRIGGER record_change AFTER UPDATE ON products
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION record_change('products', 'product_id');
COMMENT ON TRIGGER record_change ON products IS 'Who changed a price, a name, what is offered.';

CREATE OR REPLACE TRIGGER record_deletion AFTER DELETE ON products
    FOR EACH ROW EXECUTE FUNCTION record_change('products', 'product_id');
COMMENT ON TRIGGER record_deletion ON products IS 'Who took a product away.';

CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR DELETE ON hooks
    FOR EACH ROW EXECUTE FUNCTION record_change('hooks', 'hook_id', 'secret', 'old_secret');
COMMENT ON TRIGGER record_change ON hooks IS 'Who made or removed a target of webhooks.';

CREATE OR REPLACE TRIGGER record_update AFTER UPDATE ON hooks
    FOR EACH ROW WHEN ((OLD.url, OLD.events, OLD.secret, OLD.is_active)
        IS DISTINCT FROM (NEW.url, NEW.events, NEW.secret, NEW.is_active))
    EXECUTE FUNCTION record_change('hooks', 'hook_id', 'secret', 'old_secret');
COMMENT ON TRIGGER record_update ON hooks IS 'Who changed it; that it fails is no change of it.';

-- What a function does to it and says why, its own columns tell; all else is done by hand.
CREATE OR REPLACE TRIGGER record_change AFTER UPDATE OR DELETE ON reservations
    FOR EACH ROW WHEN (COALESCE(current_setting('holdfast.reason', true), '') IN ('', 'adjustment'))
    EXECUTE FUNCTION record_change('reservations', 'reservation_id');
COMMENT ON TRIGGER record_change ON reservations IS 'Who changed or corrected one by hand.';
