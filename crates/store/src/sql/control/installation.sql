-- GET
SELECT held FROM installation WHERE name = ?1;
-- PUT
INSERT INTO installation (name, held) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING;
