-- The debit in suspense out of which a payment was paid; NULL: it was not, or by a debit of its own.
ALTER TABLE payments ADD COLUMN settled_by bigint REFERENCES bank_entries (id);
UPDATE payments p SET settled_by = substring(i.subject FROM '^entry/([0-9]+)$')::bigint
  FROM work_items i
 WHERE i.kind = 'UNKNOWN_DEBIT' AND i.outcome = 'PAID' AND i.target = p.end_to_end_id;
CREATE INDEX payments_settled_by ON payments (settled_by) WHERE settled_by IS NOT NULL;
GRANT UPDATE (settled_by) ON payments TO tillkeeper_writer;
