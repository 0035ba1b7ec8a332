-- Entries of statements that name nobody and may sum up what was notified: not booked until that is sure.
CREATE TABLE bank_lumps (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account     bigint  NOT NULL REFERENCES bank_accounts (id),
    statement   bigint  NOT NULL REFERENCES bank_statements (id),
    file        text    NOT NULL REFERENCES bank_files (digest),       -- told by
    place       text    NOT NULL,                  -- and where: statement.entry
    side        char(1) NOT NULL CHECK (side IN ('C', 'D')),
    amount      bigint  NOT NULL CHECK (amount > 0),
    day         date    NOT NULL,
    reference_digest text,                         -- as bank_entries.reference_digest
    adds_up     boolean NOT NULL,
    said_sealed bytea   NOT NULL,                  -- everything that files say of it
    state       text    NOT NULL CHECK (state IN ('EXPLAINED', 'HELD', 'BOOKED')),
    word        text             CHECK (word IN ('TOLD', 'PIECES', 'OTHER')), -- a file's proof, or what people said
    entry       bigint REFERENCES bank_entries (id),                   -- as which it was booked
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (file, place),
    CHECK ((state = 'BOOKED') = (entry IS NOT NULL))
);
CREATE INDEX bank_lumps_day ON bank_lumps (account, day) WHERE state <> 'BOOKED';
CREATE INDEX bank_lumps_statement ON bank_lumps (statement) WHERE state <> 'BOOKED';
CREATE INDEX bank_lumps_reference ON bank_lumps (account, reference_digest) WHERE reference_digest IS NOT NULL;

-- The lump that it is taken to stand in: until another statement tells it, unless a file proves it.
ALTER TABLE bank_entries ADD COLUMN lump bigint REFERENCES bank_lumps (id);
CREATE INDEX bank_entries_lump ON bank_entries (lump) WHERE lump IS NOT NULL;

GRANT SELECT ON bank_lumps TO tillkeeper_writer, tillkeeper_reader;
GRANT INSERT, UPDATE (adds_up, said_sealed, state, word, entry) ON bank_lumps TO tillkeeper_writer;
GRANT UPDATE (lump) ON bank_entries TO tillkeeper_writer;
