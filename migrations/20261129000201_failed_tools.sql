-- What is taken for a word about an answer, too: that it wanted tools called as nobody can.

ALTER TABLE feedback
    DROP CONSTRAINT feedback_source_check,
    ADD CONSTRAINT feedback_source_check
        CHECK (source IN ('api', 'page', 'asked_again', 'tool_failed'));
