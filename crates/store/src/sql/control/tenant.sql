-- NEXT_ID
UPDATE counter SET held = held + 1 WHERE name = 'tenant';
-- LAST_ID
SELECT held FROM counter WHERE name = 'tenant';
-- INSERT
INSERT INTO tenant (id, name, title, state, state_reason, trial_outbound, domains_max, addresses_max, storage_max, created_at, closes_at)
VALUES (?1, ?2, ?3, ?4, '', 0, ?5, ?6, ?7, ?8, NULL);
-- BY_ID
SELECT id, name, title, state, state_reason, trial_outbound, domains_max, addresses_max, storage_max, created_at, closes_at
FROM tenant WHERE id = ?1;
-- BY_NAME
SELECT id, name, title, state, state_reason, trial_outbound, domains_max, addresses_max, storage_max, created_at, closes_at
FROM tenant WHERE name = ?1;
-- PAGE
SELECT id, name, title, state, state_reason, trial_outbound, domains_max, addresses_max, storage_max, created_at, closes_at
FROM tenant WHERE id > ?1 ORDER BY id LIMIT ?2;
-- UPDATE
UPDATE tenant SET title = ?2, trial_outbound = ?3, domains_max = ?4, addresses_max = ?5, storage_max = ?6 WHERE id = ?1;
-- SET_STATE
UPDATE tenant SET state = ?2, state_reason = ?3, closes_at = ?4 WHERE id = ?1;
-- CLOSED_BY
SELECT id FROM tenant WHERE state = 'closing' AND closes_at <= ?1 ORDER BY id LIMIT ?2;
