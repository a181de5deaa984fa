-- Tables of one day of tracking, made on demand: {{day}} is the day of the trace's birth, days since 1970 UTC.
-- Dropped whole when the day is older than every retention. Layout in words: docs/format/tracking.md.

-- Records in the order of writing. `seq` counts up per node, over all days: (node, seq) is the cursor of readers.
{{sqlite}} CREATE TABLE IF NOT EXISTS track_{{day}} (
    seq    BIGINT   NOT NULL PRIMARY KEY,
    trace  BIGINT   NOT NULL,
    tenant BIGINT   NOT NULL,
    record {{blob}} NOT NULL
) {{strict}};
{{sqlite}} CREATE INDEX IF NOT EXISTS track_{{day}}_trace ON track_{{day}} (trace);

{{postgres}} CREATE TABLE IF NOT EXISTS track_{{day}} (
    node   SMALLINT NOT NULL,
    seq    BIGINT   NOT NULL,
    trace  BIGINT   NOT NULL,
    tenant BIGINT   NOT NULL,
    record {{blob}} NOT NULL,
    PRIMARY KEY (node, seq)
);
{{postgres}} CREATE INDEX IF NOT EXISTS track_{{day}}_trace ON track_{{day}} (trace);
