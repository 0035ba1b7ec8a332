-- The book and the business rows beside it. PostgreSQL 18.
-- Amounts are minor units. Foreign keys from the hot tables are NOT ENFORCED: the verifier checks them
-- (enforced ones cost more than half of the posting rate).

-- One row per bucket. balance is kept on the account's own side (side C: credits - debits; D: the reverse).
CREATE TABLE accounts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    holder      text     NOT NULL,                 -- 'merchant/<id>' or 'platform'
    bucket      text     NOT NULL,
    currency    text     NOT NULL,
    shard       smallint NOT NULL DEFAULT 0,
    side        char(1)  NOT NULL CHECK (side IN ('C', 'D')),
    floored     boolean  NOT NULL,
    lock_rank   smallint NOT NULL,                 -- merchants 0, platform 1, its shards 2: locks go by (lock_rank, id)
    balance     bigint   NOT NULL DEFAULT 0,
    seq         bigint   NOT NULL DEFAULT 0,
    UNIQUE (holder, currency, bucket, shard),
    CONSTRAINT accounts_floor CHECK (NOT floored OR balance >= 0),
    CONSTRAINT accounts_seq CHECK (seq >= 0)
) WITH (fillfactor = 50);

-- One immutable row per transfer, both legs in it: an unbalanced posting cannot be written down.
CREATE TABLE transfers (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key            uuid        NOT NULL,
    fingerprint    uuid        NOT NULL,
    kind           text        NOT NULL,
    amount         bigint      NOT NULL CHECK (amount > 0),
    currency       text        NOT NULL,
    debit_account  bigint      NOT NULL,
    debit_seq      bigint      NOT NULL,
    debit_after    bigint      NOT NULL,
    credit_account bigint      NOT NULL,
    credit_seq     bigint      NOT NULL,
    credit_after   bigint      NOT NULL,
    subject        text        NOT NULL,           -- the order, request or receipt that it belongs to
    effective_at   timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT transfers_two_accounts CHECK (debit_account <> credit_account),
    CONSTRAINT transfers_key UNIQUE (key),
    CONSTRAINT transfers_debit_chain UNIQUE (debit_account, debit_seq),
    CONSTRAINT transfers_credit_chain UNIQUE (credit_account, credit_seq),
    CONSTRAINT transfers_debit_fk FOREIGN KEY (debit_account) REFERENCES accounts (id) NOT ENFORCED,
    CONSTRAINT transfers_credit_fk FOREIGN KEY (credit_account) REFERENCES accounts (id) NOT ENFORCED
);

-- A refused key answers the same for ever.
CREATE TABLE refusals (
    key         uuid PRIMARY KEY,
    fingerprint uuid        NOT NULL,
    code        text        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE prepaid_accounts (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant          text   NOT NULL,
    currency          text   NOT NULL,
    state             text   NOT NULL,
    profile           text   NOT NULL,
    fingerprint       text   NOT NULL,             -- digest of the opening request
    opening_user      text   NOT NULL,
    legal_name_sealed bytea  NOT NULL,
    legal_name_digest bytea  NOT NULL,             -- keyed digest of the normalised name
    bank_sealed       bytea,
    contacts_sealed   bytea,
    warning           bigint,
    suspend_below     bigint,
    hard_floor        bigint NOT NULL,
    resume_above      bigint,
    billing_from      timestamptz,                 -- agreed, or set at activation (P-10)
    opening_at        timestamptz NOT NULL,
    opened_at         timestamptz,
    configured_at     timestamptz,
    activated_at      timestamptz,
    closed_at         timestamptz,
    available         bigint NOT NULL REFERENCES accounts (id),   -- this row is the merchant's lock
    frozen            bigint NOT NULL REFERENCES accounts (id),
    withdrawing       bigint NOT NULL REFERENCES accounts (id),
    dues              bigint NOT NULL REFERENCES accounts (id),
    fee_income        bigint NOT NULL REFERENCES accounts (id),
    dues_unearned     bigint NOT NULL REFERENCES accounts (id),
    UNIQUE (merchant, currency),
    CHECK (state IN ('OPENING', 'WAITING_BANK_INFO', 'OPENED', 'CONFIGURED', 'ACTIVE', 'ABNORMAL', 'CLOSED'))
);
CREATE INDEX prepaid_accounts_legal_name ON prepaid_accounts (legal_name_digest);

-- One row per order: where its fee stands. The transfers say how it came there.
CREATE TABLE holds (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account      bigint   NOT NULL,
    order_id     text     NOT NULL,
    fee          bigint,                           -- NULL until the hold arrives
    fee_version  smallint,
    held         bigint   NOT NULL DEFAULT 0,
    dues         bigint   NOT NULL DEFAULT 0,
    released     bigint   NOT NULL DEFAULT 0,
    cancelled    bigint   NOT NULL DEFAULT 0,
    settled      bigint   NOT NULL DEFAULT 0,
    refunded     bigint   NOT NULL DEFAULT 0,
    due_seq      bigint,                           -- the place of its dues in the dues account: oldest first
    refused      text,                             -- why the hold, and so all of the order, was refused
    placed_at    timestamptz,
    completed_at timestamptz,
    state        text GENERATED ALWAYS AS (
        CASE WHEN refused IS NOT NULL THEN 'refused'
             WHEN fee IS NULL THEN 'parked'
             WHEN dues > 0 THEN 'due'
             WHEN held > 0 THEN 'held'
             WHEN settled > 0 OR completed_at IS NOT NULL THEN 'settled'
             ELSE 'released' END) STORED,
    CONSTRAINT holds_order UNIQUE (account, order_id),
    CONSTRAINT holds_account_fk FOREIGN KEY (account) REFERENCES prepaid_accounts (id) NOT ENFORCED,
    CONSTRAINT holds_parts CHECK (
        held >= 0 AND dues >= 0 AND released >= 0 AND cancelled >= 0
        AND refunded BETWEEN 0 AND settled
        AND coalesce(fee, 0) = held + dues + released + cancelled + settled)
) WITH (fillfactor = 80);
CREATE INDEX holds_due ON holds (account, due_seq) WHERE dues > 0;

-- Releases and refunds, told apart by the sender's message id; parked ones wait here.
CREATE TABLE hold_returns (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account    bigint      NOT NULL,
    order_id   text        NOT NULL,
    message_id text        NOT NULL,
    event      text        NOT NULL CHECK (event IN ('release', 'refund')),
    amount     bigint      NOT NULL CHECK (amount > 0),
    result     text        NOT NULL CHECK (result IN ('applied', 'parked', 'refused')),
    code       text,
    effective_at timestamptz NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT hold_returns_message UNIQUE (account, order_id, message_id)
);

CREATE TABLE topup_requests (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant     text        NOT NULL,
    request      text        NOT NULL,
    account      bigint REFERENCES prepaid_accounts (id),
    currency     text        NOT NULL,
    amount       bigint      NOT NULL,
    state        text        NOT NULL CHECK (state IN ('REFUSED', 'WAITING_REMITTANCE', 'CREDITED', 'EXPIRED', 'CANCELLED')),
    fingerprint  text        NOT NULL,
    method       text        NOT NULL,
    entry_point  text        NOT NULL,
    reasons      jsonb       NOT NULL DEFAULT '[]',
    profile      text        NOT NULL,
    payer_digest bytea,                            -- keyed digest of the normalised legal name
    requested_at timestamptz NOT NULL,
    expires_at   timestamptz,
    decided_at   timestamptz,
    receipt      text,
    UNIQUE (merchant, request)
);
CREATE UNIQUE INDEX topup_requests_one_open ON topup_requests (account, amount) WHERE state = 'WAITING_REMITTANCE';
CREATE INDEX topup_requests_match ON topup_requests (payer_digest, currency, amount);
CREATE INDEX topup_requests_amount ON topup_requests (currency, amount) WHERE state = 'WAITING_REMITTANCE';

CREATE TABLE receipts (
    digest       text PRIMARY KEY,                 -- receiving account and bank reference, hashed
    fingerprint  text        NOT NULL,
    amount       bigint      NOT NULL CHECK (amount > 0),
    currency     text        NOT NULL,
    state        text        NOT NULL CHECK (state IN ('CREDITED', 'UNMATCHED')),
    reason       text,
    payer_sealed bytea       NOT NULL,
    payer_digest bytea       NOT NULL,
    payer_kind   text        NOT NULL,
    topup        bigint REFERENCES topup_requests (id),
    suggests     bigint REFERENCES topup_requests (id),
    activated    boolean     NOT NULL DEFAULT false,
    booked_at    timestamptz NOT NULL,
    received_at  timestamptz NOT NULL
);
CREATE INDEX receipts_unmatched ON receipts (received_at) WHERE state = 'UNMATCHED';

-- Written in the transaction that crossed the line; read by whoever waits for it.
CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic       text        NOT NULL,
    account     bigint      NOT NULL,
    threshold   text        NOT NULL,
    available   bigint      NOT NULL,
    effective_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row per state change made by a person or a lifecycle.
CREATE TABLE audit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject     text        NOT NULL,
    action      text        NOT NULL,
    actor       text        NOT NULL,
    reason_sealed bytea,                           -- what a person typed
    before      jsonb       NOT NULL,
    after       jsonb       NOT NULL,
    profile     text        NOT NULL,
    at          timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX audit_subject ON audit (subject, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME USING ERRCODE = 'TK001';
END $$;

CREATE TRIGGER transfers_immutable BEFORE UPDATE OR DELETE ON transfers FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_no_truncate BEFORE TRUNCATE ON transfers EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refusals_immutable BEFORE UPDATE OR DELETE ON refusals FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refusals_no_truncate BEFORE TRUNCATE ON refusals EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit EXECUTE FUNCTION refuse_change();

-- Entries are a view of the transfers: one signed line per leg, on the account's own side.
CREATE VIEW entries AS
    SELECT t.id AS transfer, t.debit_account AS account, t.debit_seq AS seq,
           CASE a.side WHEN 'D' THEN t.amount ELSE -t.amount END AS amount, t.debit_after AS after,
           t.kind, t.currency, t.subject, t.effective_at, t.recorded_at
      FROM transfers t JOIN accounts a ON a.id = t.debit_account
    UNION ALL
    SELECT t.id, t.credit_account, t.credit_seq,
           CASE a.side WHEN 'C' THEN t.amount ELSE -t.amount END, t.credit_after,
           t.kind, t.currency, t.subject, t.effective_at, t.recorded_at
      FROM transfers t JOIN accounts a ON a.id = t.credit_account;

-- The account's balance as it was recorded at a moment: a binary search down its chain.
CREATE FUNCTION balance_at(wanted bigint, moment timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint := 0; high bigint; middle bigint; seen timestamptz; after bigint; found bigint := 0;
BEGIN
    SELECT seq INTO high FROM accounts WHERE id = wanted;
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        SELECT e.recorded_at, e.after INTO seen, after FROM (
            SELECT t.recorded_at, t.debit_after AS after FROM transfers t
             WHERE t.debit_account = wanted AND t.debit_seq = middle
            UNION ALL
            SELECT t.recorded_at, t.credit_after FROM transfers t
             WHERE t.credit_account = wanted AND t.credit_seq = middle) e;
        IF seen <= moment THEN low := middle; found := after; ELSE high := middle - 1; END IF;
    END LOOP;
    RETURN found;
END $$;

-- What the services may do. Logins are made by whoever runs the cluster and put into these groups.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tillkeeper_writer') THEN CREATE ROLE tillkeeper_writer NOLOGIN; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tillkeeper_reader') THEN CREATE ROLE tillkeeper_reader NOLOGIN; END IF;
END $$;
GRANT USAGE ON SCHEMA public TO tillkeeper_writer, tillkeeper_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO tillkeeper_writer, tillkeeper_reader;
GRANT INSERT ON transfers, refusals, audit TO tillkeeper_writer;
GRANT INSERT, UPDATE (balance, seq) ON accounts TO tillkeeper_writer;
GRANT INSERT, UPDATE ON prepaid_accounts, holds, hold_returns, topup_requests, receipts TO tillkeeper_writer;
GRANT INSERT, DELETE ON outbox TO tillkeeper_writer;
