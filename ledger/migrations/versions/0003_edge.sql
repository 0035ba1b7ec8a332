-- Reports and files name one receipt by different references: amount and day find what may be the same.
CREATE INDEX receipts_amount ON receipts (currency, amount, booked_at);
