-- Each row of the audit with a stamp of the application's key ring, which whoever owns the database does not have.
-- Rows from before have none: a stamped row says up to where (ledger.audit_boundary, decision 0015).
ALTER TABLE audit ADD COLUMN stamp bytea CHECK (length(stamp) BETWEEN 47 AND 78);
