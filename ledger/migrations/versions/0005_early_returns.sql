-- A receipt that turns out to be a payment of ours which came back before its debit was told.
ALTER TABLE receipts
    DROP CONSTRAINT receipts_state_check,
    ADD CONSTRAINT receipts_state_check CHECK (
        state IN ('CREDITED', 'UNMATCHED', 'RETURNING', 'RETURNED', 'REVERSED', 'DETAILED', 'SENT_BACK'));
