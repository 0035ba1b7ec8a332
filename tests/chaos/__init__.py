"""Everything is killed while money is on its way; afterwards the bank's own book is the judge."""
