-- NEWEST
SELECT number, saved_at, actor, reason, document FROM revision WHERE tenant = ?1 ORDER BY number DESC LIMIT 1;
-- NEWEST_NUMBER
SELECT number FROM revision WHERE tenant = ?1 ORDER BY number DESC LIMIT 1;
-- GET
SELECT number, saved_at, actor, reason, document FROM revision WHERE tenant = ?1 AND number = ?2;
-- PAGE
SELECT number, saved_at, actor, reason, '' FROM revision WHERE tenant = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3;
-- INSERT
INSERT INTO revision (tenant, number, saved_at, actor, reason, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6);
-- EXPIRE
DELETE FROM revision WHERE saved_at < ?1
AND number < (SELECT MAX(newer.number) FROM revision AS newer WHERE newer.tenant = revision.tenant);
