-- NEWEST_LIST
SELECT version, made_at, actor, origin, entries, added, removed, changed, renamed
FROM recipient_list WHERE tenant = ?1 AND domain = ?2 ORDER BY version DESC LIMIT 1;
-- LISTS
SELECT version, made_at, actor, origin, entries, added, removed, changed, renamed
FROM recipient_list WHERE tenant = ?1 AND domain = ?2 ORDER BY version DESC;
-- LOOK_UP
SELECT until_version, since, ended_at, enabled FROM recipient
WHERE tenant = ?1 AND domain = ?2 AND local = ?3 ORDER BY from_version DESC LIMIT 1;
-- PAGE
SELECT local, alias_of, display_name, aliases, group_names, manager, language, enabled FROM recipient
WHERE tenant = ?1 AND domain = ?2 AND local > ?3 AND until_version IS NULL AND alias_of IS NULL ORDER BY local LIMIT ?4;
-- AT_VERSION
SELECT local, alias_of, display_name, aliases, group_names, manager, language, enabled FROM recipient
WHERE tenant = ?1 AND domain = ?2 AND from_version <= ?3 AND (until_version IS NULL OR until_version > ?3) ORDER BY local;
-- COUNT_TENANT
SELECT COUNT(*) FROM recipient WHERE tenant = ?1 AND until_version IS NULL AND alias_of IS NULL;
-- INSERT_LIST
INSERT INTO recipient_list (tenant, domain, version, made_at, actor, origin, entries, added, removed, changed, renamed)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11);
-- INSERT_ROW
INSERT INTO recipient (tenant, domain, local, from_version, since, alias_of, display_name, aliases, group_names, manager, language, enabled)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12);
-- END_ROW
UPDATE recipient SET until_version = ?4, ended_at = ?5 WHERE tenant = ?1 AND domain = ?2 AND local = ?3 AND until_version IS NULL;
-- FORGET_LISTS
DELETE FROM recipient_list WHERE tenant = ?1 AND domain = ?2 AND version < ?3;
-- FORGET_ROWS
DELETE FROM recipient WHERE tenant = ?1 AND domain = ?2 AND until_version <= ?3 AND ended_at < ?4;
-- PURGE_LISTS
DELETE FROM recipient_list WHERE tenant = ?1 AND domain = ?2;
-- PURGE_ROWS
DELETE FROM recipient WHERE tenant = ?1 AND domain = ?2;
