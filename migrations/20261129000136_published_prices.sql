-- What the platform's own book asked for one unit, where a contract, a plan or a book of the
-- organization's made it another price: finance sees both. Empty where it is what was paid.
ALTER TABLE charges ADD published_price text NOT NULL DEFAULT '';
