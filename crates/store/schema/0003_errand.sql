-- Layout in words: docs/format/nodes.md. Empty on SQLite, where one node owns every entry.
-- What a person asked of one node about entries that another node owns; done by the owner, which knows whether it attempts them.
-- `batch`: the first `id` of those asked for together. `action`: as JSON. `outcome`: NULL until it was done.
CREATE TABLE errand (
    id       BIGINT   NOT NULL PRIMARY KEY,
    batch    BIGINT   NOT NULL,
    tenant   BIGINT   NOT NULL,
    queue_id BIGINT   NOT NULL,
    number   BIGINT   NOT NULL,
    action   {{json}} NOT NULL,
    actor    TEXT     NOT NULL,
    asked_at BIGINT   NOT NULL,
    outcome  TEXT
) {{strict}};
CREATE INDEX errand_batch ON errand (batch);
