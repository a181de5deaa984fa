-- ADD
INSERT INTO errand (id, batch, tenant, queue_id, number, action, actor, asked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);
-- MINE
SELECT r.id, r.batch, r.tenant, r.queue_id, r.number, r.action, r.actor, r.asked_at FROM errand r
LEFT JOIN entry e ON e.queue_id = r.queue_id AND e.number = r.number AND e.tenant = r.tenant
WHERE r.outcome IS NULL AND (e.owner = ?1 OR e.owner IS NULL) ORDER BY r.id LIMIT ?2;
-- ANSWER
UPDATE errand SET outcome = ?3 WHERE id = ?1 AND tenant = ?2 AND outcome IS NULL;
-- OUTCOMES
SELECT outcome FROM errand WHERE batch = ?1 ORDER BY id;
-- FORGET
DELETE FROM errand WHERE batch = ?1 AND outcome IS NOT NULL;
-- PRUNE
DELETE FROM errand WHERE asked_at < ?1;
