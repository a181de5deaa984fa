-- The control plane: tenants, settings, domains, recipients, keys, audit. Layout in words: docs/format/settings.md.
-- Written once for both engines; tokens as in 0001_spool.sql. Closed sets stand here as words, since people read these tables.

-- Numbers that only go up: `generation` (of what the mail flow must see), `tenant` (ids, never reused).
-- Who changes one holds its row until the commit, so that numbers become visible in order.
CREATE TABLE counter (
    name TEXT   NOT NULL PRIMARY KEY,
    held BIGINT NOT NULL
) {{strict}}{{norowid}};
INSERT INTO counter (name, held) VALUES ('generation', 0), ('tenant', 0);

-- Facts about the installation, by name: fingerprint of the installation key.
CREATE TABLE installation (
    name TEXT NOT NULL PRIMARY KEY,
    held TEXT NOT NULL
) {{strict}}{{norowid}};

-- NULL in a limit: unlimited.
CREATE TABLE tenant (
    id             BIGINT   NOT NULL PRIMARY KEY,
    name           TEXT     NOT NULL,
    title          TEXT     NOT NULL,
    state          TEXT     NOT NULL,
    state_reason   TEXT     NOT NULL,
    trial_outbound SMALLINT NOT NULL,
    domains_max    BIGINT,
    addresses_max  BIGINT,
    storage_max    BIGINT,
    created_at     BIGINT   NOT NULL,
    closes_at      BIGINT
) {{strict}};
CREATE UNIQUE INDEX tenant_name ON tenant (name);

-- Settings: one whole document per save; tenant 0 is the operator. The highest number is in force.
CREATE TABLE revision (
    tenant   BIGINT   NOT NULL,
    number   BIGINT   NOT NULL,
    saved_at BIGINT   NOT NULL,
    actor    TEXT     NOT NULL,
    reason   TEXT     NOT NULL,
    document {{json}} NOT NULL,
    PRIMARY KEY (tenant, number)
) {{strict}};

-- At which generation something of a tenant last changed that the mail flow must see.
CREATE TABLE live_change (
    tenant     BIGINT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
) {{strict}};
CREATE INDEX live_change_generation ON live_change (generation);

-- Claims on domains and the domains themselves. `state`: unverified, verified, active, deleting.
-- `resume_state`: what a restore leads back to. `due_at`: when the engine of claims looks next.
CREATE TABLE domain (
    tenant          BIGINT   NOT NULL,
    name            TEXT     NOT NULL,
    state           TEXT     NOT NULL,
    token           TEXT     NOT NULL,
    token_made_at   BIGINT   NOT NULL,
    claimed_at      BIGINT   NOT NULL,
    lapses_at       BIGINT,
    verified_by     TEXT,
    verified_reason TEXT,
    verified_at     BIGINT,
    resume_state    TEXT,
    purge_at        BIGINT,
    checked_at      BIGINT,
    asked_at        BIGINT,
    due_at          BIGINT   NOT NULL,
    report          {{json}} NOT NULL,
    PRIMARY KEY (tenant, name)
) {{strict}};
-- A proven name belongs to one tenant of the installation; unproven claims block nobody.
CREATE UNIQUE INDEX domain_owner ON domain (name) WHERE state <> 'unverified';
CREATE INDEX domain_name ON domain (name);
CREATE INDEX domain_due ON domain (due_at);

-- Versions of the recipient list of a domain. A row is part of version v when from_version <= v and (until_version is NULL or > v).
CREATE TABLE recipient_list (
    tenant  BIGINT NOT NULL,
    domain  TEXT   NOT NULL,
    version BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    origin  TEXT   NOT NULL,
    entries BIGINT NOT NULL,
    added   BIGINT NOT NULL,
    removed BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    renamed BIGINT NOT NULL,
    PRIMARY KEY (tenant, domain, version)
) {{strict}};

-- `alias_of`: the local part whose alias this is. `since`: when the row came into force; `ended_at`: when it left.
CREATE TABLE recipient (
    tenant        BIGINT   NOT NULL,
    domain        TEXT     NOT NULL,
    local         TEXT     NOT NULL,
    from_version  BIGINT   NOT NULL,
    until_version BIGINT,
    since         BIGINT   NOT NULL,
    ended_at      BIGINT,
    alias_of      TEXT,
    display_name  TEXT     NOT NULL,
    aliases       {{json}} NOT NULL,
    group_names   {{json}} NOT NULL,
    manager       TEXT,
    language      TEXT,
    enabled       SMALLINT NOT NULL,
    PRIMARY KEY (tenant, domain, local, from_version)
) {{strict}}{{norowid}};

-- Keys of the API. `hash`: SHA-256 of the secret, which has 256 random bits. `domains`: NULL for the whole tenant, else JSON list.
CREATE TABLE api_key (
    id           TEXT     NOT NULL PRIMARY KEY,
    tenant       BIGINT   NOT NULL,
    name         TEXT     NOT NULL,
    hash         {{blob}} NOT NULL,
    role         TEXT     NOT NULL,
    domains      {{json}},
    created_at   BIGINT   NOT NULL,
    created_by   TEXT     NOT NULL,
    last_used_at BIGINT,
    expires_at   BIGINT
) {{strict}};
CREATE UNIQUE INDEX api_key_hash ON api_key (hash);
CREATE INDEX api_key_tenant ON api_key (tenant, id);

-- What people did. Only added to; removed by age alone. `id`: UUIDv7, so that it sorts by time.
CREATE TABLE audit (
    tenant         BIGINT   NOT NULL,
    id             TEXT     NOT NULL,
    at             BIGINT   NOT NULL,
    actor          TEXT     NOT NULL,
    role           TEXT     NOT NULL,
    login_method   TEXT     NOT NULL,
    client_address TEXT,
    channel        TEXT     NOT NULL,
    action         TEXT     NOT NULL,
    object_kind    TEXT     NOT NULL,
    object         TEXT     NOT NULL,
    domain         TEXT,
    changes        {{json}} NOT NULL,
    revision       BIGINT,
    result         TEXT     NOT NULL,
    reason         TEXT     NOT NULL,
    PRIMARY KEY (tenant, id)
) {{strict}};
CREATE INDEX audit_object ON audit (tenant, object_kind, object, id);

-- Domains and next hops to which nothing is attempted. Tenant 0: for everyone.
CREATE TABLE pause (
    tenant  BIGINT NOT NULL,
    kind    TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    since   BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    reason  TEXT   NOT NULL,
    PRIMARY KEY (tenant, kind, subject)
) {{strict}};

-- Long work. `id`: UUIDv7.
CREATE TABLE job (
    id         TEXT     NOT NULL PRIMARY KEY,
    tenant     BIGINT   NOT NULL,
    kind       TEXT     NOT NULL,
    state      TEXT     NOT NULL,
    actor      TEXT     NOT NULL,
    created_at BIGINT   NOT NULL,
    updated_at BIGINT   NOT NULL,
    done       BIGINT   NOT NULL,
    total      BIGINT,
    params     {{json}} NOT NULL,
    outcome    {{json}} NOT NULL
) {{strict}};
CREATE INDEX job_tenant ON job (tenant, id);

-- Last use of relay credentials.
CREATE TABLE credential_use (
    tenant  BIGINT NOT NULL,
    name    TEXT   NOT NULL,
    used_at BIGINT NOT NULL,
    client  TEXT   NOT NULL,
    PRIMARY KEY (tenant, name)
) {{strict}};

-- Proofs of tenant seen: per domain and kind, the last time.
CREATE TABLE proof_seen (
    tenant  BIGINT NOT NULL,
    domain  TEXT   NOT NULL,
    kind    TEXT   NOT NULL,
    seen_at BIGINT NOT NULL,
    detail  TEXT   NOT NULL,
    PRIMARY KEY (tenant, domain, kind)
) {{strict}};

-- Messages that passed in the set-up window that ends at `until_at`.
CREATE TABLE setup_window (
    tenant   BIGINT NOT NULL PRIMARY KEY,
    until_at BIGINT NOT NULL,
    used     BIGINT NOT NULL
) {{strict}};
