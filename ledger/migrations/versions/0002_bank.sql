-- The bank edge: files, statements, entries and their parts; payments out; work items; reconciliation.
-- Amounts are minor units; signed ones are positive when the account gained. Sealed columns hold personal data.

-- Our own accounts at banks. The row is the lock of the account's statement book.
CREATE TABLE bank_accounts (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number   text NOT NULL,                        -- compact; the platform's own, hence in clear
    currency text NOT NULL,
    UNIQUE (number, currency)
);

-- Every file once, by its bytes; kept whole, so that what it said can be shown for ever.
CREATE TABLE bank_files (
    digest      text PRIMARY KEY,                  -- SHA-256 of the bytes, hexadecimal
    name_sealed bytea       NOT NULL,
    body_sealed bytea       NOT NULL,              -- compressed, then sealed
    size        bigint      NOT NULL CHECK (size >= 0),
    encoding    text,                              -- declared by whoever brought an MT940
    source      text        NOT NULL,              -- who brought it: exchange, import
    state       text        NOT NULL CHECK (state IN ('RECEIVED', 'READ', 'BOOKED', 'REFUSED')),
    kind        text,
    refused     text,
    problems    jsonb       NOT NULL DEFAULT '[]',
    warnings    jsonb       NOT NULL DEFAULT '[]',
    entries     integer     NOT NULL DEFAULT 0,    -- booked entries of our accounts that it tells
    new_entries integer     NOT NULL DEFAULT 0,    -- of them, told by no file before
    notices     integer     NOT NULL DEFAULT 0,    -- pending, information, or not to be recognised again: no money
    foreign_statements integer NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL,
    read_at     timestamptz,
    booked_at   timestamptz,
    told_at     timestamptz,                       -- all whom it concerns know of it
    CHECK ((state = 'REFUSED') = (refused IS NOT NULL))
);
CREATE INDEX bank_files_open ON bank_files (received_at, digest) WHERE told_at IS NULL AND state <> 'REFUSED';

-- Statements with both balances. Reports and notifications leave no row here.
CREATE TABLE bank_statements (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account    bigint  NOT NULL REFERENCES bank_accounts (id),
    file       text    NOT NULL REFERENCES bank_files (digest),
    place      integer NOT NULL,                   -- its place in that file, from 1
    kind       text    NOT NULL,
    identifier text,
    number     text,
    opening    bigint  NOT NULL,                   -- signed
    opening_on date,
    closing    bigint  NOT NULL,                   -- signed
    closing_on date    NOT NULL,
    entries    integer NOT NULL,
    total      bigint  NOT NULL                    -- signed sum of its booked entries
);
CREATE INDEX bank_statements_account ON bank_statements (account, closing_on);
CREATE INDEX bank_statements_file ON bank_statements (file);

-- What moved on an account: one row for ever, whichever files tell it.
CREATE TABLE bank_entries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account     bigint  NOT NULL REFERENCES bank_accounts (id),
    side        char(1) NOT NULL CHECK (side IN ('C', 'D')),   -- C: the account gained
    amount      bigint  NOT NULL CHECK (amount > 0),
    day         date    NOT NULL,                  -- booking day, else value day, else the statement's
    dated       boolean NOT NULL DEFAULT true,     -- whether the bank gave the entry's day itself
    reference_digest text,                         -- as receipts.reference_digest; NULL: the bank gave none
    reversal    boolean NOT NULL,
    adds_up     boolean NOT NULL,                  -- whether its parts make it up
    file        text    NOT NULL REFERENCES bank_files (digest),       -- first told by
    place       text    NOT NULL,                  -- and where: statement.entry
    statement   bigint REFERENCES bank_statements (id),                -- NULL: only notified so far
    parts       integer NOT NULL,
    booked_as   text,                              -- subject of the transfer that moved it; NULL: not booked yet
    reverses    bigint REFERENCES bank_entries (id),                   -- what it takes back
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX bank_entries_file ON bank_entries (file);   -- whom a file concerns is asked of what it told
CREATE INDEX bank_entries_new ON bank_entries (file, id) WHERE booked_as IS NULL;
CREATE INDEX bank_entries_day ON bank_entries (account, day);
CREATE INDEX bank_entries_unstated ON bank_entries (account, day) WHERE statement IS NULL;
CREATE INDEX bank_entries_reference ON bank_entries (account, reference_digest);
CREATE INDEX bank_entries_statement ON bank_entries (statement);
CREATE INDEX bank_entries_reverses ON bank_entries (reverses) WHERE reverses IS NOT NULL;
CREATE INDEX bank_entries_booked_as ON bank_entries (booked_as) WHERE booked_as IS NOT NULL;

-- The movements of `bank`: few beside the holds and settlements, which merely fail the condition.
CREATE INDEX transfers_bank ON transfers (effective_at) INCLUDE (amount, debit_account, credit_account)
    WHERE kind NOT IN ('receipt_return', 'receipt_return_failed', 'bank_charge', 'topup', 'hold', 'dues_raised', 'release',
        'settlement', 'settled_refund', 'withdrawal', 'withdrawal_returned', 'dues_held', 'dues_settled', 'dues_cleared',
        'dues_cancelled');
CREATE INDEX transfers_bank_subject ON transfers (subject)
    WHERE kind NOT IN ('receipt_return', 'receipt_return_failed', 'bank_charge', 'topup', 'hold', 'dues_raised', 'release',
        'settlement', 'settled_refund', 'withdrawal', 'withdrawal_returned', 'dues_held', 'dues_settled', 'dues_cleared',
        'dues_cancelled');

-- Payments that leave: recorded before the first byte does.
CREATE TABLE payments (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    end_to_end_id   text        NOT NULL UNIQUE,   -- one for the life of the payment
    subject         text        NOT NULL UNIQUE,   -- what it pays: receipt/<digest>/return/<n>
    fingerprint     text        NOT NULL,
    amount          bigint      NOT NULL CHECK (amount > 0),
    currency        text        NOT NULL,
    creditor_sealed bytea       NOT NULL,          -- name, account, bank, remittance
    state           text        NOT NULL CHECK (state IN ('RECORDED', 'SENT', 'ACCEPTED', 'REJECTED', 'PAID', 'RETURNED')),
    reason          text,                          -- the bank's code
    message_id      text,                          -- of the pain.001 that carries it
    recorded_at     timestamptz NOT NULL,
    sent_at         timestamptz,
    decided_at      timestamptz
);
CREATE INDEX payments_message ON payments (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX payments_open ON payments (recorded_at) WHERE state IN ('RECORDED', 'SENT', 'ACCEPTED');

-- What banks said about payments, each saying of each file once.
CREATE TABLE payment_statuses (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment bigint      NOT NULL REFERENCES payments (id),
    file    text        NOT NULL,                  -- digest of the file that said it
    status  text        NOT NULL,
    reasons jsonb       NOT NULL DEFAULT '[]',
    at      timestamptz NOT NULL,
    UNIQUE (payment, file, status)
);
CREATE INDEX payment_statuses_file ON payment_statuses (file);

-- The transactions of an entry, as the file that details them says.
CREATE TABLE bank_transactions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry        bigint  NOT NULL REFERENCES bank_entries (id),
    part         integer NOT NULL,
    file         text    NOT NULL REFERENCES bank_files (digest),
    amount       bigint,
    currency     text    NOT NULL,
    side         char(1) NOT NULL CHECK (side IN ('C', 'D')),
    payer_digest bytea,                            -- keyed digest of the normalised debtor's name
    payer_kind   text    NOT NULL,
    code         text,                             -- a top-up's reference code in the remittance text
    payment      bigint REFERENCES payments (id),  -- ours, by its end-to-end id
    return_reason text,
    said_sealed  bytea   NOT NULL,                 -- everything the file says of it
    UNIQUE (entry, part)
);
CREATE INDEX bank_transactions_file ON bank_transactions (file);
CREATE INDEX bank_transactions_payment ON bank_transactions (payment) WHERE payment IS NOT NULL;

-- A receipt may now come from an entry's part. Its money was booked with the entry.
ALTER TABLE receipts
    ALTER COLUMN payer_digest DROP NOT NULL,
    ADD COLUMN entry bigint REFERENCES bank_entries (id),
    ADD COLUMN part integer,
    ADD COLUMN reference_digest text,              -- account and bank reference, hashed: as digest where reported
    ADD COLUMN matched_by text,                    -- the work item by which people matched it
    ADD COLUMN payment bigint REFERENCES payments (id),   -- by which it is returned
    ADD CONSTRAINT receipts_part UNIQUE (entry, part);
UPDATE receipts SET reference_digest = digest;
ALTER TABLE receipts
    DROP CONSTRAINT receipts_state_check,
    ADD CONSTRAINT receipts_state_check CHECK (
        state IN ('CREDITED', 'UNMATCHED', 'RETURNING', 'RETURNED', 'REVERSED', 'DETAILED'));
CREATE UNIQUE INDEX receipts_topup ON receipts (topup) WHERE topup IS NOT NULL;   -- one receipt pays a request (P-23)
CREATE INDEX receipts_reference ON receipts (reference_digest) WHERE reference_digest IS NOT NULL;

ALTER TABLE topup_requests ADD COLUMN code text;   -- what the merchant may write into the remittance text
CREATE INDEX topup_requests_code ON topup_requests (code) WHERE state = 'WAITING_REMITTANCE';
CREATE INDEX topup_requests_payer ON topup_requests (payer_digest, currency) WHERE state = 'WAITING_REMITTANCE';

-- What needs a person, of all lifecycles. One open item per kind and subject.
CREATE TABLE work_items (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text        NOT NULL,
    subject     text        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('OPEN', 'CLAIMED', 'PROPOSED', 'CLOSED')),
    reason      text        NOT NULL DEFAULT '',
    amount      bigint,
    currency    text,
    context     jsonb       NOT NULL DEFAULT '{}', -- never personal data
    opened_at   timestamptz NOT NULL,
    owner       text,
    claimed_at  timestamptz,
    proposals   integer     NOT NULL DEFAULT 0,
    action      text,                              -- what is proposed, or was done
    target      text,                              -- the request, receipt or payment it is done with
    proposal_sealed bytea,                         -- reason and personal data of the proposal
    proposed_by text,
    proposed_at timestamptz,
    decided_by  text,
    outcome     text,
    closed_at   timestamptz,
    CONSTRAINT work_items_outcome CHECK (
        (state = 'CLOSED') = (outcome IS NOT NULL) AND (state = 'CLOSED') = (closed_at IS NOT NULL)),
    CONSTRAINT work_items_four_eyes CHECK (state <> 'CLOSED' OR proposed_by IS DISTINCT FROM decided_by OR decided_by IS NULL)
);
CREATE UNIQUE INDEX work_items_one_open ON work_items (kind, subject) WHERE state <> 'CLOSED';
CREATE INDEX work_items_open ON work_items (opened_at) WHERE state <> 'CLOSED';
CREATE INDEX work_items_subject ON work_items (subject);
INSERT INTO work_items (kind, subject, state, reason, amount, currency, opened_at)
SELECT 'UNMATCHED_RECEIPT', 'receipt/' || digest, 'OPEN', coalesce(reason, ''), amount, currency, received_at
  FROM receipts WHERE state = 'UNMATCHED' ORDER BY received_at, digest;

-- What each day of each account came to when it was compared last.
CREATE TABLE reconciliations (
    account    bigint      NOT NULL REFERENCES bank_accounts (id),
    day        date        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('CLEAN', 'DIFFERENT', 'NO_STATEMENT')),
    matched    integer     NOT NULL,
    differences integer    NOT NULL,
    bank_total bigint      NOT NULL,               -- signed: what the statement says moved that day
    book_total bigint      NOT NULL,               -- signed: what our book says moved that day
    first_at   timestamptz NOT NULL,
    checked_at timestamptz NOT NULL,
    PRIMARY KEY (account, day)
);
CREATE TABLE reconciliation_differences (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account    bigint      NOT NULL,
    day        date        NOT NULL,
    kind       text        NOT NULL,               -- NOT_IN_BOOK, NOT_ON_STATEMENT, AMOUNT_DIFFERS, BALANCE_DIFFERS
    subject    text        NOT NULL,               -- the entry, the transfer's subject, or the statement
    transfer   bigint,                             -- the transfer, where there is one
    bank_minor bigint,                             -- signed
    book_minor bigint,                             -- signed
    first_seen timestamptz NOT NULL,
    cleared_at timestamptz,
    FOREIGN KEY (account, day) REFERENCES reconciliations (account, day)
);
CREATE UNIQUE INDEX reconciliation_differences_open ON reconciliation_differences (account, day, kind, subject, transfer)
    NULLS NOT DISTINCT WHERE cleared_at IS NULL;

CREATE TRIGGER payment_statuses_immutable BEFORE UPDATE OR DELETE ON payment_statuses FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER bank_statements_immutable BEFORE UPDATE OR DELETE ON bank_statements FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER bank_transactions_immutable BEFORE UPDATE OR DELETE ON bank_transactions FOR EACH ROW EXECUTE FUNCTION refuse_change();

GRANT SELECT ON ALL TABLES IN SCHEMA public TO tillkeeper_writer, tillkeeper_reader;
GRANT INSERT ON bank_accounts, bank_statements, bank_transactions, payment_statuses TO tillkeeper_writer;
GRANT UPDATE (currency) ON bank_accounts TO tillkeeper_writer;  -- the row is a lock: FOR UPDATE needs a right to update
GRANT INSERT, UPDATE (state, encoding, kind, refused, problems, warnings, entries, new_entries, notices, foreign_statements, read_at, booked_at, told_at) ON bank_files TO tillkeeper_writer;
GRANT INSERT, UPDATE (statement, parts, adds_up, booked_as, reverses) ON bank_entries TO tillkeeper_writer;
GRANT INSERT, UPDATE (state, reason, message_id, sent_at, decided_at) ON payments TO tillkeeper_writer;
GRANT INSERT, UPDATE ON work_items, reconciliations, reconciliation_differences TO tillkeeper_writer;
