-- INSERT
INSERT INTO audit (tenant, id, at, actor, role, login_method, client_address, channel, action, object_kind, object, domain, changes, revision, result, reason)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16);
-- PAGE
SELECT tenant, id, at, actor, role, login_method, client_address, channel, action, object_kind, object, domain, changes, revision, result, reason
FROM audit
WHERE tenant = ?1 AND id < ?2
  AND at >= ?3 AND at < ?4
  AND (CAST(?5 AS TEXT) IS NULL OR actor = ?5)
  AND (CAST(?6 AS TEXT) IS NULL OR action = ?6)
  AND (CAST(?7 AS TEXT) IS NULL OR object_kind = ?7)
  AND (CAST(?8 AS TEXT) IS NULL OR object = ?8)
  AND (CAST(?9 AS TEXT) IS NULL OR domain = ?9)
ORDER BY id DESC LIMIT ?10;
-- GET
SELECT tenant, id, at, actor, role, login_method, client_address, channel, action, object_kind, object, domain, changes, revision, result, reason
FROM audit WHERE tenant = ?1 AND id = ?2;
-- EXPIRE
DELETE FROM audit WHERE tenant = ?1 AND at < ?2;
