-- Who may do what: one line per right. A role that an installation does not have is passed over.
DO $$
DECLARE
    v_role text;
    v_right record;
BEGIN
    -- From nothing: a line taken out of the table below is a right taken away.
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA holdfast FROM PUBLIC;
    FOR v_role IN
        SELECT rolname FROM pg_roles
        WHERE rolname IN ('holdfast_service', 'holdfast_worker', 'holdfast_reader')
    LOOP
        EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA holdfast FROM %I', v_role);
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA holdfast FROM %I', v_role);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA holdfast FROM %I', v_role);
        EXECUTE format('REVOKE ALL ON SCHEMA holdfast FROM %I', v_role);
    END LOOP;

    FOR v_right IN
        SELECT * FROM (VALUES
            ('holdfast_service', 'USAGE',   'SCHEMA holdfast'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION reserve_stock'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION reserve_stock_batch'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION held_products'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION reservation_status'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION read_reservation'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION list_reservations'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION commit_reservation'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION release_reservation'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION extend_reservation'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION list_stock'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION store_items'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION read_store'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION store_report'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION move_stock'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION change_stock'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION clean_store'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION put_store'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION name_store'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION list_stores'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION list_movements'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION past_report'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION take_idempotency_key'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION keep_idempotent_answer'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION list_products'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION read_product'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION create_product'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION change_product'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION remove_product'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION buy_product'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION receive_payment'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION read_statement'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION register_user'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION activate_user'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION begin_sign_in'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION begin_password_check'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION finish_sign_in'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION check_session'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION end_sessions'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION change_password'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION create_reset_link'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION reset_password'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION list_users'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION set_user_active'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION use_api_key'),

            ('holdfast_service', 'EXECUTE', 'FUNCTION request_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION confirm_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION decline_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION cancel_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION seat_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION finish_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION miss_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION place_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION move_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION add_table'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION change_table'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION list_tables'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION read_booking_rules'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION set_booking_rules'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION list_bookings'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION read_booking'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION read_booking_link'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION cancel_booking_by_link'),
            ('holdfast_service', 'EXECUTE', 'FUNCTION forget_guest'),
            ('holdfast_worker',  'USAGE',   'SCHEMA holdfast'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION expire_reservations'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION list_stock'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION store_items'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION store_report'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION find_lapsed_reservations'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION find_old_answers'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION forget_answers'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION find_due_messages'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION lease_messages'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION settle_message'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION split_message'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION find_old_messages'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION forget_messages'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION find_due_schedules'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION keep_schedule'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION fire_schedule'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION find_lapsed_bookings'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION find_old_guests'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION lapse_bookings'),
            ('holdfast_worker',  'EXECUTE', 'FUNCTION anonymise_guests'),

            ('holdfast_reader',  'USAGE',   'SCHEMA holdfast'),
            ('holdfast_reader',  'EXECUTE', 'FUNCTION reservation_status'),
            ('holdfast_reader',  'EXECUTE', 'FUNCTION stock_as_of'),
            ('holdfast_reader',  'SELECT',  'TABLE stores'),
            ('holdfast_reader',  'SELECT',  'TABLE products'),
            ('holdfast_reader',  'SELECT',  'TABLE stock'),
            ('holdfast_reader',  'SELECT',  'TABLE stock_movements'),
            ('holdfast_reader',  'SELECT',  'TABLE reservations'),
            ('holdfast_reader',  'SELECT',  'TABLE reservation_lines'),
            ('holdfast_reader',  'SELECT',  'TABLE accounts'),
            ('holdfast_reader',  'SELECT',  'TABLE account_entries'),
            ('holdfast_reader',  'SELECT',  'TABLE purchases'),
            ('holdfast_reader',  'SELECT',  'TABLE schedules'),
            ('holdfast_reader',  'SELECT',  'TABLE dead_letters'),
            ('holdfast_reader',  'SELECT',  'TABLE user_list'),
            ('holdfast_reader',  'SELECT',  'TABLE api_key_list'),
            ('holdfast_reader',  'SELECT',  'TABLE audit_log'),
            ('holdfast_reader',  'SELECT',  'TABLE stock_levels'),
            ('holdfast_reader',  'SELECT',  'TABLE stock_violations'),
            ('holdfast_reader',  'SELECT',  'TABLE dining_tables'),
            ('holdfast_reader',  'SELECT',  'TABLE bookings'),
            ('holdfast_reader',  'SELECT',  'TABLE booking_rules'),
            ('holdfast_reader',  'SELECT',  'TABLE booking_violations'),
            ('holdfast_reader',  'SELECT',  'TABLE account_violations'),
            ('holdfast_reader',  'SELECT',  'TABLE invariant_violations')
        ) AS rights (role, privilege, object)
        WHERE role IN (SELECT rolname FROM pg_roles)
    LOOP
        EXECUTE format('GRANT %s ON %s TO %I', v_right.privilege, v_right.object, v_right.role);
    END LOOP;
END $$;
