-- The search index of tracking: derived, may be dropped and made again. Layout in words: docs/format/tracking.md.
-- SQLite: in a file of its own (`index.db`), so that its writes never stand in the way of mail.

CREATE TABLE index_meta (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) {{strict}}{{norowid}};

-- Immutable segments. `head`: trace ids, sizes and the directory of blocks.
CREATE TABLE segment (
    segment   BIGINT   NOT NULL PRIMARY KEY,
    level     SMALLINT NOT NULL,
    traces    BIGINT   NOT NULL,
    trace_min BIGINT   NOT NULL,
    trace_max BIGINT   NOT NULL,
    head      {{blob}} NOT NULL
) {{strict}};

-- Terms and their postings, sorted; `id` is segment * 16777216 + number of the block.
CREATE TABLE term (
    id    BIGINT   NOT NULL PRIMARY KEY,
    block {{blob}} NOT NULL
) {{strict}};
