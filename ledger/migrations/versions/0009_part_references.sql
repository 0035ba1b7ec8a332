-- A part's own reference where it is another than its entry's, as receipts.reference_digest; earlier parts have none.
ALTER TABLE bank_transactions ADD COLUMN reference_digest text;
CREATE INDEX bank_transactions_reference ON bank_transactions (reference_digest) WHERE reference_digest IS NOT NULL;
