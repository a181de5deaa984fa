-- CREDENTIAL_USED
INSERT INTO credential_use (tenant, name, used_at, client) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (tenant, name) DO UPDATE SET used_at = excluded.used_at, client = excluded.client;
-- CREDENTIAL_USES
SELECT name, used_at, client FROM credential_use WHERE tenant = ?1 ORDER BY name;
-- PROOF_SEEN
INSERT INTO proof_seen (tenant, domain, kind, seen_at, detail) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (tenant, domain, kind) DO UPDATE SET seen_at = excluded.seen_at, detail = excluded.detail;
-- PROOFS
SELECT domain, kind, seen_at, detail FROM proof_seen WHERE tenant = ?1 ORDER BY domain, kind;
-- PURGE_PROOFS
DELETE FROM proof_seen WHERE tenant = ?1 AND domain = ?2;
-- WINDOW_OPEN
INSERT INTO setup_window (tenant, until_at, used) VALUES (?1, ?2, 0)
ON CONFLICT (tenant) DO UPDATE SET until_at = excluded.until_at, used = 0 WHERE setup_window.until_at <> excluded.until_at;
-- WINDOW_TAKE
UPDATE setup_window SET used = used + 1 WHERE tenant = ?1 AND until_at = ?2 AND used < ?3;
-- WINDOW_USED
SELECT used FROM setup_window WHERE tenant = ?1 AND until_at = ?2;
