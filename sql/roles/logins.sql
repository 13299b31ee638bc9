-- Two logins that own nothing but what their roles own: holdfast_login for the service and its
-- worker, holdfast_admin for migrations and for people. Run by a superuser in the database, after
-- roles.sql, any number of times. Their password is that of the setting holdfast.password, where
-- one is given: PGOPTIONS='-c holdfast.password=…' psql …
DO $$
DECLARE
    v_password text := current_setting('holdfast.password', true);
    v_login text;
    v_setting text;
BEGIN
    FOREACH v_login IN ARRAY ARRAY['holdfast_login', 'holdfast_admin'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_login) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', v_login);
        END IF;
        IF v_password <> '' THEN
            EXECUTE format('ALTER ROLE %I PASSWORD %L', v_login, v_password);
        END IF;
    END LOOP;
    GRANT holdfast_service, holdfast_worker TO holdfast_login;
    GRANT holdfast_owner, holdfast_service, holdfast_worker, holdfast_reader TO holdfast_admin;

    -- Our connections bring these themselves, but where a pooler takes none.
    FOREACH v_setting IN ARRAY ARRAY[
        'search_path = holdfast, pg_temp', 'timezone = ''UTC''', 'jit = off',
        'lock_timeout = ''2s''', 'statement_timeout = ''5s''',
        'idle_in_transaction_session_timeout = ''10s'''
    ] LOOP
        EXECUTE 'ALTER ROLE holdfast_login SET ' || v_setting;
    END LOOP;

    -- To see who waits for whom and what takes how long, and to end a session.
    GRANT pg_read_all_stats TO holdfast_reader;
    GRANT pg_monitor, pg_signal_backend TO holdfast_admin;
    IF 'pg_stat_statements' = ANY (
        string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ',')
    ) THEN
        CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public;
    END IF;

    -- For the schema, its extensions, and the search_path of whoever opens psql.
    EXECUTE format('ALTER DATABASE %I OWNER TO holdfast_admin', current_database());
END $$;
