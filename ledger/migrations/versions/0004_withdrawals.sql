-- Withdrawals: reserved with their request, decided by people with tokens, paid by attempts. The audit gets its chain.
-- Amounts are minor units. Sealed columns hold personal data or what people typed.

ALTER TABLE prepaid_accounts ADD COLUMN bank_since timestamptz;   -- since when this bank account is bound (P-69)
UPDATE prepaid_accounts SET bank_since = coalesce(opened_at, opening_at) WHERE bank_sealed IS NOT NULL;

-- Policies by which withdrawals are approved; before the first, the one that is built in (C-08).
CREATE TABLE approval_policies (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    change         text        NOT NULL UNIQUE,    -- the proposal's business id
    fingerprint    text        NOT NULL,
    state          text        NOT NULL CHECK (state IN ('PROPOSED', 'ADOPTED', 'REJECTED')),
    policy         jsonb       NOT NULL,
    digest         text        NOT NULL,           -- of the policy and its date: what a decision names
    effective_from timestamptz NOT NULL,
    reason_sealed  bytea       NOT NULL,
    proposed_by    text        NOT NULL,
    proposed_at    timestamptz NOT NULL,
    decided_by     text,
    decided_at     timestamptz,
    decision_sealed bytea,                         -- the second person's reason
    CONSTRAINT approval_policies_decided CHECK ((state = 'PROPOSED') = (decided_by IS NULL)),
    CONSTRAINT approval_policies_four_eyes CHECK (lower(proposed_by) <> lower(decided_by))
);
CREATE INDEX approval_policies_effective ON approval_policies (effective_from, id) WHERE state = 'ADOPTED';

CREATE TABLE delegations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delegation  text        NOT NULL UNIQUE,
    fingerprint text        NOT NULL,
    delegator   text        NOT NULL,
    delegate    text        NOT NULL,
    roles       text[]      NOT NULL,
    merchants   text[]      NOT NULL,              -- the delegator's scope when he delegated
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    reason_sealed bytea     NOT NULL,
    CONSTRAINT delegations_two_people CHECK (lower(delegator) <> lower(delegate))
);
CREATE INDEX delegations_delegate ON delegations (lower(delegate), until);

-- Every token once: what it was spent on, for ever.
CREATE TABLE spent_tokens (
    token       text PRIMARY KEY,                  -- its id, never its text
    decision    text        NOT NULL,              -- decision_digest of what it was spent on
    subject     text        NOT NULL,
    actor       text        NOT NULL,
    at          timestamptz NOT NULL,
    refused     text[]                             -- the codes, where the decision was refused; NULL: it took effect
);

CREATE TABLE withdrawals (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant     text        NOT NULL,
    request      text        NOT NULL,
    account      bigint REFERENCES prepaid_accounts (id),
    currency     text        NOT NULL,
    amount       bigint      NOT NULL CHECK (amount > 0),
    state        text        NOT NULL CHECK (state IN ('REFUSED', 'WAITING_APPROVAL', 'APPROVED', 'REMITTING', 'PAID', 'REJECTED',
                                                       'CANCELLED_BY_MERCHANT', 'FAILED_MANUAL', 'RETURNED')),
    fingerprint  text        NOT NULL,
    requested_by text        NOT NULL,
    entry_point  text        NOT NULL,
    accept_suspension boolean NOT NULL DEFAULT false, -- the flag of P-74: with it the request can be made again as it came
    reasons      jsonb       NOT NULL DEFAULT '[]', -- why it was refused
    profile      text        NOT NULL,
    policy       text        NOT NULL DEFAULT '',  -- which version it is approved by
    levels       jsonb       NOT NULL DEFAULT '[]', -- what that version asks for this amount
    auto_reason  text        NOT NULL DEFAULT '',
    payee_sealed bytea,                            -- frozen at approval, corrected by two people only (P-69)
    reason_sealed bytea,                           -- why it was rejected or cancelled
    failure      text,                             -- the bank's code of the last failure
    requested_at timestamptz NOT NULL,
    approved_at  timestamptz,
    remit_at     timestamptz,                      -- end of the grace period
    reminders    integer     NOT NULL DEFAULT 0,
    escalated_at timestamptz,
    remitted_at  timestamptz,
    ended_at     timestamptz,
    payment      bigint REFERENCES payments (id),  -- the last attempt
    attempts     integer     NOT NULL DEFAULT 0,
    UNIQUE (merchant, request),
    CONSTRAINT withdrawals_frozen CHECK (state NOT IN ('APPROVED', 'REMITTING', 'PAID', 'FAILED_MANUAL') OR payee_sealed IS NOT NULL),
    CONSTRAINT withdrawals_paid CHECK (state NOT IN ('REMITTING', 'PAID', 'FAILED_MANUAL') OR payment IS NOT NULL)
);
CREATE INDEX withdrawals_open ON withdrawals (requested_at) WHERE state IN ('WAITING_APPROVAL', 'APPROVED', 'REMITTING', 'FAILED_MANUAL');
CREATE INDEX withdrawals_account ON withdrawals (account, requested_at);

-- Decisions that count, of any kind of thing; a refused one is in the audit only.
CREATE TABLE decisions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject      text        NOT NULL,             -- withdrawal/<merchant>/<request>
    verdict      text        NOT NULL CHECK (verdict IN ('APPROVE', 'REJECT')),
    level        text        NOT NULL,
    actor        text        NOT NULL,
    on_behalf_of text,
    decision     text        NOT NULL,             -- decision_digest of what was decided
    token        text        NOT NULL REFERENCES spent_tokens (token),
    reason_sealed bytea,
    at           timestamptz NOT NULL,
    CONSTRAINT decisions_own_name CHECK (lower(actor) <> lower(on_behalf_of))
);
-- Whoever approved one payee may have to approve another one: only what was decided counts.
CREATE UNIQUE INDEX decisions_once ON decisions (subject, decision, lower(actor));
CREATE UNIQUE INDEX decisions_once_for ON decisions (subject, decision, lower(coalesce(on_behalf_of, actor)));

-- What merchants are to be told; whoever sends it marks it (P-70, C-13).
CREATE TABLE notices (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         text        NOT NULL UNIQUE,       -- one notice for one effect
    code        text        NOT NULL,              -- PM-8 and its like
    event       text        NOT NULL,
    merchant    text        NOT NULL,
    currency    text        NOT NULL,
    subject     text        NOT NULL,
    amount      bigint,
    reason_sealed bytea,
    at          timestamptz NOT NULL
);
CREATE INDEX notices_subject ON notices (subject, id);

-- Requests that ran out unpaid, and the money that one of them may have meant (P-29).
CREATE INDEX topup_requests_expired ON topup_requests (decided_at, id) WHERE state = 'EXPIRED';
CREATE INDEX receipts_unmatched_payer ON receipts (payer_digest, currency) WHERE state = 'UNMATCHED';
CREATE INDEX receipts_unmatched_amount ON receipts (currency, amount) WHERE state = 'UNMATCHED';

-- A payment is one attempt; the attempts of one payout share its run.
ALTER TABLE payments
    DROP CONSTRAINT payments_state_check,
    ADD CONSTRAINT payments_state_check CHECK (state IN ('RECORDED', 'SENT', 'UNCLEAR', 'ACCEPTED', 'REJECTED', 'PAID', 'RETURNED')),
    ADD COLUMN merchant   text,                    -- whose money it is; NULL: the platform's
    ADD COLUMN rail       text NOT NULL DEFAULT 'file' CHECK (rail IN ('file', 'http')),
    ADD COLUMN run        text,                    -- end-to-end id of the first attempt; NULL: its own
    ADD COLUMN attempt    integer NOT NULL DEFAULT 1 CHECK (attempt > 0),
    ADD COLUMN failure    text,                    -- class of the bank's no
    ADD COLUMN retry_at   timestamptz,             -- when the next attempt is due
    ADD COLUMN sending_at timestamptz,             -- written before the first byte leaves
    ADD COLUMN asked_at   timestamptz,
    ADD COLUMN asked      integer NOT NULL DEFAULT 0;
DROP INDEX payments_open;
CREATE INDEX payments_open ON payments (recorded_at) WHERE state IN ('RECORDED', 'SENT', 'UNCLEAR', 'ACCEPTED');
CREATE INDEX payments_run ON payments (run) WHERE run IS NOT NULL;

-- The movements of `bank` again, for the kinds that do not touch it are one more.
DROP INDEX transfers_bank, transfers_bank_subject;
CREATE INDEX transfers_bank ON transfers (effective_at) INCLUDE (amount, debit_account, credit_account)
    WHERE kind NOT IN ('receipt_return', 'receipt_return_failed', 'return_settled', 'bank_charge', 'topup', 'hold', 'dues_raised',
        'release', 'settlement', 'settled_refund', 'withdrawal', 'withdrawal_returned', 'withdrawal_settled',
        'dues_held', 'dues_settled', 'dues_cleared', 'dues_cancelled');
CREATE INDEX transfers_bank_subject ON transfers (subject)
    WHERE kind NOT IN ('receipt_return', 'receipt_return_failed', 'return_settled', 'bank_charge', 'topup', 'hold', 'dues_raised',
        'release', 'settlement', 'settled_refund', 'withdrawal', 'withdrawal_returned', 'withdrawal_settled',
        'dues_held', 'dues_settled', 'dues_cleared', 'dues_cancelled');

-- The audit's chain: SHA-256 over the hash before and the row, written off the hot path, in an order of its own.
CREATE TABLE audit_chain (
    place bigint PRIMARY KEY,                      -- 1, 2, 3, … without a gap
    audit bigint      NOT NULL UNIQUE REFERENCES audit (id),
    hash  bytea       NOT NULL CHECK (length(hash) = 32),
    at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TRIGGER decisions_immutable BEFORE UPDATE OR DELETE ON decisions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER decisions_no_truncate BEFORE TRUNCATE ON decisions EXECUTE FUNCTION refuse_change();
CREATE TRIGGER spent_tokens_immutable BEFORE UPDATE OR DELETE ON spent_tokens FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER spent_tokens_no_truncate BEFORE TRUNCATE ON spent_tokens EXECUTE FUNCTION refuse_change();
CREATE TRIGGER delegations_immutable BEFORE UPDATE OR DELETE ON delegations FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER delegations_no_truncate BEFORE TRUNCATE ON delegations EXECUTE FUNCTION refuse_change();
CREATE TRIGGER notices_immutable BEFORE UPDATE OR DELETE ON notices FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER notices_no_truncate BEFORE TRUNCATE ON notices EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_chain_immutable BEFORE UPDATE OR DELETE ON audit_chain FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_chain_no_truncate BEFORE TRUNCATE ON audit_chain EXECUTE FUNCTION refuse_change();

GRANT SELECT ON ALL TABLES IN SCHEMA public TO tillkeeper_writer, tillkeeper_reader;
GRANT INSERT ON decisions, spent_tokens, delegations, notices, audit_chain TO tillkeeper_writer;
GRANT INSERT, UPDATE (state, decided_by, decided_at, decision_sealed) ON approval_policies TO tillkeeper_writer;
GRANT INSERT, UPDATE (state, payee_sealed, reason_sealed, failure, approved_at, remit_at, reminders, escalated_at, remitted_at,
    ended_at, payment, attempts) ON withdrawals TO tillkeeper_writer;
GRANT UPDATE (failure, retry_at, sending_at, asked_at, asked) ON payments TO tillkeeper_writer;
