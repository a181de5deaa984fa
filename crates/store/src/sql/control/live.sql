-- NEXT_GENERATION
UPDATE counter SET held = held + 1 WHERE name = 'generation';
-- GENERATION
SELECT held FROM counter WHERE name = 'generation';
-- MARK
INSERT INTO live_change (tenant, generation) VALUES (?1, ?2)
ON CONFLICT (tenant) DO UPDATE SET generation = excluded.generation;
-- SINCE
SELECT tenant FROM live_change WHERE generation > ?1 ORDER BY generation;
