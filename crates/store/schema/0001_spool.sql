-- Spool and the frame of tracking. Layout in words: docs/format/spool.md and docs/format/tracking.md.
--
-- Written once for both engines. Whole words BIGINT and SMALLINT become INTEGER on SQLite (so a BIGINT PRIMARY KEY is the row id there);
-- {{blob}} {{strict}} {{norowid}} {{json}} are the other differences; a statement that begins with {{sqlite}} or {{postgres}} is for that engine alone.
-- Closed sets are small numbers here; their meaning stands in src/spool/code.rs.

-- Small facts about the store itself, by name.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) {{strict}}{{norowid}};

-- A message in the spool. `blob` and `body`: exactly one is set. `head`: parameters, flags and variants (spool.md), version first.
-- `body` stands last: what comes before it is read without touching its pages.
CREATE TABLE message (
    queue_id     BIGINT   NOT NULL PRIMARY KEY,
    tenant       BIGINT   NOT NULL,
    direction    SMALLINT NOT NULL,
    received_at  BIGINT   NOT NULL,
    size         BIGINT   NOT NULL,
    blob         {{blob}},
    reverse_path TEXT     NOT NULL,
    head         {{blob}} NOT NULL,
    body         {{blob}}
) {{strict}};

-- One recipient of a message. `owner`: epoch of the node whose it is (always 1 on SQLite).
CREATE TABLE entry (
    queue_id        BIGINT   NOT NULL,
    number          BIGINT   NOT NULL,
    tenant          BIGINT   NOT NULL,
    owner           BIGINT   NOT NULL,
    lane            BIGINT   NOT NULL,
    due             BIGINT   NOT NULL,
    state           SMALLINT NOT NULL,
    variant         SMALLINT NOT NULL,
    notify          SMALLINT NOT NULL,
    attempts        BIGINT   NOT NULL,
    expires_at      BIGINT   NOT NULL,
    delay_notice_at BIGINT,
    recipient       TEXT     NOT NULL,
    orcpt           TEXT,
    reason          TEXT,
    last_reply      TEXT,
    forced_next_hop TEXT,
    PRIMARY KEY (queue_id, number)
) {{strict}}{{norowid}};

CREATE INDEX entry_due ON entry (owner, lane, due, queue_id, number);

-- Days that have tracking tables (see day.sql).
CREATE TABLE track_day (
    day BIGINT NOT NULL PRIMARY KEY
) {{strict}};

-- Tenants (-1: all that have no retention of their own) whose records of a day are gone already, while the day stands for others.
CREATE TABLE track_purge (
    day    BIGINT NOT NULL,
    tenant BIGINT NOT NULL,
    PRIMARY KEY (day, tenant)
) {{strict}}{{norowid}};

-- Records that no segment of the search index has yet, of all days; (node, seq) as in the tables of the days.
{{postgres}} CREATE TABLE track_fresh (
    node  SMALLINT NOT NULL,
    seq   BIGINT   NOT NULL,
    trace BIGINT   NOT NULL,
    PRIMARY KEY (node, seq)
);
{{postgres}} CREATE SEQUENCE segment_seq;

-- Nodes of an installation and their leases. `epoch`: what `entry.owner` names. `writer`: number of the one connection that may write for
-- the node; counted up at each connect, so that what an older one still has under way is void. `until_at`: end of the lease by the
-- database's clock, 0 when given up. `host`: machine on which the node's process has its name locked, else empty. `touched`: counts actions by other nodes on entries of this one.
{{postgres}} CREATE TABLE node (
    slot     SMALLINT NOT NULL PRIMARY KEY,
    epoch    BIGINT   NOT NULL,
    writer   BIGINT   NOT NULL,
    name     TEXT     NOT NULL,
    host     TEXT     NOT NULL,
    until_at BIGINT   NOT NULL,
    touched  BIGINT   NOT NULL
);
{{postgres}} CREATE UNIQUE INDEX node_epoch ON node (epoch);
{{postgres}} CREATE SEQUENCE node_epoch_seq;
-- Bodies are stored as they are (mail compresses badly and accepting it must be cheap); tables that come and go are vacuumed early.
{{postgres}} ALTER TABLE message ALTER COLUMN body SET STORAGE EXTERNAL;
{{postgres}} ALTER TABLE message SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
{{postgres}} ALTER TABLE track_fresh SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000);
{{postgres}} ALTER TABLE entry SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
