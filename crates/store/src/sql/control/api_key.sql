-- INSERT
INSERT INTO api_key (id, tenant, name, hash, role, domains, created_at, created_by, last_used_at, expires_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, ?9);
-- BY_HASH
SELECT id, tenant, name, role, domains, created_at, created_by, last_used_at, expires_at FROM api_key WHERE hash = ?1;
-- GET
SELECT id, tenant, name, role, domains, created_at, created_by, last_used_at, expires_at FROM api_key WHERE tenant = ?1 AND id = ?2;
-- PAGE
SELECT id, tenant, name, role, domains, created_at, created_by, last_used_at, expires_at
FROM api_key WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3;
-- COUNT_ROLE
SELECT COUNT(*) FROM api_key WHERE tenant = ?1 AND role = ?2 AND (expires_at IS NULL OR expires_at > ?3);
-- USED
UPDATE api_key SET last_used_at = ?2 WHERE id = ?1;
-- DELETE
DELETE FROM api_key WHERE tenant = ?1 AND id = ?2;
