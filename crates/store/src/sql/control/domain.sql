-- INSERT
INSERT INTO domain (tenant, name, state, token, token_made_at, claimed_at, lapses_at, due_at, report)
VALUES (?1, ?2, 'unverified', ?3, ?4, ?4, ?5, ?4, '{}');
-- GET
SELECT tenant, name, state, token, token_made_at, claimed_at, lapses_at, verified_by, verified_reason, verified_at,
       resume_state, purge_at, checked_at, asked_at, due_at, report
FROM domain WHERE tenant = ?1 AND name = ?2;
-- LIST
SELECT tenant, name, state, token, token_made_at, claimed_at, lapses_at, verified_by, verified_reason, verified_at,
       resume_state, purge_at, checked_at, asked_at, due_at, report
FROM domain WHERE tenant = ?1 ORDER BY name;
-- PAGE
SELECT tenant, name, state, token, token_made_at, claimed_at, lapses_at, verified_by, verified_reason, verified_at,
       resume_state, purge_at, checked_at, asked_at, due_at, report
FROM domain WHERE tenant = ?1 AND name > ?2 ORDER BY name LIMIT ?3;
-- CLAIMS
SELECT tenant, name, state, token, token_made_at, claimed_at, lapses_at, verified_by, verified_reason, verified_at,
       resume_state, purge_at, checked_at, asked_at, due_at, report
FROM domain WHERE name = ?1 ORDER BY claimed_at, tenant;
-- DUE
SELECT tenant, name, state, token, token_made_at, claimed_at, lapses_at, verified_by, verified_reason, verified_at,
       resume_state, purge_at, checked_at, asked_at, due_at, report
FROM domain WHERE due_at <= ?1 ORDER BY due_at, tenant, name LIMIT ?2;
-- NEXT_DUE
SELECT MIN(due_at) FROM domain;
-- HOLDER
SELECT tenant FROM domain WHERE name = ?1 AND state <> 'unverified';
-- COUNT
SELECT COUNT(*) FROM domain WHERE tenant = ?1;
-- NEW_TOKEN
UPDATE domain SET token = ?3, token_made_at = ?4, due_at = ?4 WHERE tenant = ?1 AND name = ?2;
-- VERIFY
UPDATE domain SET state = 'verified', verified_by = ?3, verified_reason = ?4, verified_at = ?5, lapses_at = NULL, due_at = ?5
WHERE tenant = ?1 AND name = ?2 AND state = 'unverified';
-- RIVALS
SELECT tenant FROM domain WHERE name = ?1 AND tenant <> ?2 AND state = 'unverified' ORDER BY tenant;
-- SET_STATE
UPDATE domain SET state = ?3 WHERE tenant = ?1 AND name = ?2;
-- CHECKED
UPDATE domain SET checked_at = ?3, due_at = ?4, report = ?5 WHERE tenant = ?1 AND name = ?2;
-- TAKE
UPDATE domain SET due_at = ?3 WHERE tenant = ?1 AND name = ?2 AND due_at = ?4;
-- ASK
UPDATE domain SET asked_at = ?3, due_at = ?3 WHERE tenant = ?1 AND name = ?2 AND (asked_at IS NULL OR asked_at <= ?4);
-- NUDGE
UPDATE domain SET due_at = ?2 WHERE name = ?1 AND state = 'unverified' AND due_at > ?2 AND (checked_at IS NULL OR checked_at <= ?3);
-- BEGIN_DELETION
UPDATE domain SET state = 'deleting', resume_state = state, purge_at = ?3, due_at = ?3 WHERE tenant = ?1 AND name = ?2;
-- RESTORE
UPDATE domain SET state = resume_state, resume_state = NULL, purge_at = NULL, due_at = ?3
WHERE tenant = ?1 AND name = ?2 AND state = 'deleting';
-- DELETE
DELETE FROM domain WHERE tenant = ?1 AND name = ?2;
