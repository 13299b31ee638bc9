-- The roles of the house. They belong to the whole cluster, so they are made only where they are
-- missing, and never dropped. Needs CREATEROLE; an administrator may run it by hand beforehand.
-- Their settings count only where an installation lets them log in; the service's connections
-- bring their own.
DO $$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY[
        'holdfast_owner',    -- owns every object; logs in nowhere
        'holdfast_service',  -- the HTTP service: EXECUTE on its functions, nothing on tables
        'holdfast_worker',   -- the worker: its own functions, nothing on tables
        'holdfast_reader'    -- people and dashboards: SELECT, read-only
    ] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN CONTINUE; END IF;
        EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
        EXECUTE format('ALTER ROLE %I SET search_path = holdfast, pg_temp', v_role);
        IF v_role = 'holdfast_reader' THEN
            ALTER ROLE holdfast_reader SET default_transaction_read_only = on;
        END IF;
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', v_role);
        END IF;
    END LOOP;
END $$;
