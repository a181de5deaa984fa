-- INSERT
INSERT INTO job (id, tenant, kind, state, actor, created_at, updated_at, done, total, params, outcome)
VALUES (?1, ?2, ?3, 'waiting', ?4, ?5, ?5, 0, ?6, ?7, '{}');
-- GET
SELECT id, tenant, kind, state, actor, created_at, updated_at, done, total, params, outcome FROM job WHERE tenant = ?1 AND id = ?2;
-- PAGE
SELECT id, tenant, kind, state, actor, created_at, updated_at, done, total, params, outcome
FROM job WHERE tenant = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3;
-- PROGRESS
UPDATE job SET state = 'running', done = ?3, total = ?4, updated_at = ?5 WHERE tenant = ?1 AND id = ?2 AND state IN ('waiting', 'running');
-- FINISH
UPDATE job SET state = ?3, outcome = ?4, updated_at = ?5 WHERE tenant = ?1 AND id = ?2 AND state IN ('waiting', 'running');
-- UNFINISHED
SELECT id, tenant, kind, state, actor, created_at, updated_at, done, total, params, outcome
FROM job WHERE state IN ('waiting', 'running') ORDER BY id LIMIT ?1;
-- EXPIRE
DELETE FROM job WHERE updated_at < ?1 AND state NOT IN ('waiting', 'running');
