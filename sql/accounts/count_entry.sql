CREATE OR REPLACE FUNCTION count_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- OLD is null on INSERT. Whoever changes the row has it locked: nobody else counts meanwhile.
    NEW.entry_count :=
        COALESCE(OLD.entry_count, 0) + (NEW.balance <> COALESCE(OLD.balance, 0))::int;
    RETURN NEW;
END $$;

COMMENT ON FUNCTION count_entry IS
    'Trigger: count the entry that record_entry() is going to write.';

CREATE OR REPLACE TRIGGER count_entry BEFORE INSERT OR UPDATE OF balance ON accounts
    FOR EACH ROW EXECUTE FUNCTION count_entry();
COMMENT ON TRIGGER count_entry ON accounts IS
    'The account knows how many entries there are: none can be added or taken away unseen.';
