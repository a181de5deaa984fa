-- SET
INSERT INTO pause (tenant, kind, subject, since, actor, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (tenant, kind, subject) DO NOTHING;
-- END
DELETE FROM pause WHERE tenant = ?1 AND kind = ?2 AND subject = ?3;
-- LIST
SELECT tenant, kind, subject, since, actor, reason FROM pause WHERE tenant = ?1 ORDER BY kind, subject;
-- ALL_PAUSES
SELECT tenant, kind, subject, since, actor, reason FROM pause ORDER BY tenant, kind, subject;
