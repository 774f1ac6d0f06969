-- The state's schema 2, as versions of UICI before 3 created it. Frozen: migrations are tested from here.

CREATE TABLE alerts (
    fingerprint TEXT NOT NULL,
    starts_at VARCHAR(27) NOT NULL,
    incident_id VARCHAR(40),
    status VARCHAR(16) NOT NULL,
    outcome VARCHAR(24),
    labels JSON NOT NULL,
    annotations JSON NOT NULL,
    ends_at VARCHAR(27),
    generator_url TEXT NOT NULL,
    receiver TEXT NOT NULL,
    sender TEXT NOT NULL,
    reason TEXT NOT NULL,
    first_seen VARCHAR(27) NOT NULL,
    last_seen VARCHAR(27) NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (fingerprint, starts_at)
);

CREATE INDEX alerts_by_incident ON alerts (incident_id);

CREATE TABLE approvals (
    id VARCHAR(40) NOT NULL,
    run_id VARCHAR(40) NOT NULL,
    cid VARCHAR(80) NOT NULL,
    state VARCHAR(16) NOT NULL,
    requested_at VARCHAR(27) NOT NULL,
    expires_at VARCHAR(27) NOT NULL,
    decided_at VARCHAR(27),
    decided_by TEXT,
    comment TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT approvals_one_per_rung UNIQUE (run_id, cid)
);

CREATE TABLE attempts (
    id SERIAL NOT NULL,
    run_id VARCHAR(40) NOT NULL,
    position TEXT NOT NULL,
    number INTEGER NOT NULL,
    call TEXT NOT NULL,
    arguments JSON NOT NULL,
    mutates BOOLEAN NOT NULL,
    fence INTEGER,
    before JSON NOT NULL,
    sent_at VARCHAR(27) NOT NULL,
    settled_at VARCHAR(27),
    outcome VARCHAR(24),
    detail TEXT NOT NULL,
    result JSON,
    PRIMARY KEY (id),
    CONSTRAINT attempts_once UNIQUE (run_id, position, number)
);

CREATE TABLE catalogues (
    digest VARCHAR(80) NOT NULL,
    document JSON NOT NULL,
    created_at VARCHAR(27) NOT NULL,
    PRIMARY KEY (digest)
);

CREATE TABLE choices (
    run_id VARCHAR(40) NOT NULL,
    rung INTEGER NOT NULL,
    at VARCHAR(27) NOT NULL,
    document JSON NOT NULL,
    PRIMARY KEY (run_id, rung)
);

CREATE TABLE deliveries (
    message_id INTEGER NOT NULL,
    channel TEXT NOT NULL,
    kind VARCHAR(32) NOT NULL,
    state VARCHAR(16) NOT NULL,
    tries INTEGER NOT NULL,
    created_at VARCHAR(27) NOT NULL,
    next_at VARCHAR(27),
    tried_at VARCHAR(27),
    settled_at VARCHAR(27),
    error TEXT NOT NULL,
    summary_id INTEGER,
    PRIMARY KEY (message_id, channel)
);

CREATE INDEX deliveries_due ON deliveries (state, channel, next_at);

CREATE TABLE events (
    seq SERIAL NOT NULL,
    at VARCHAR(27) NOT NULL,
    type TEXT NOT NULL,
    incident_id VARCHAR(40),
    run_id VARCHAR(40),
    environment TEXT,
    target TEXT,
    data JSON NOT NULL,
    PRIMARY KEY (seq)
);

CREATE INDEX events_by_incident ON events (incident_id, seq);

CREATE INDEX events_by_run ON events (run_id, seq);

CREATE TABLE feedback (
    run_id VARCHAR(40) NOT NULL,
    actor TEXT NOT NULL,
    rung INTEGER NOT NULL,
    good BOOLEAN NOT NULL,
    comment TEXT NOT NULL,
    at VARCHAR(27) NOT NULL,
    PRIMARY KEY (run_id, actor)
);

CREATE TABLE freezes (
    id SERIAL NOT NULL,
    frozen BOOLEAN NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    at VARCHAR(27) NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE heartbeats (
    strategy TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    labels JSON NOT NULL,
    beats INTEGER NOT NULL,
    paced BOOLEAN NOT NULL,
    last_seen VARCHAR(27),
    missing_since VARCHAR(27),
    missing_beats INTEGER,
    PRIMARY KEY (strategy, fingerprint)
);

CREATE TABLE incidents (
    id VARCHAR(40) NOT NULL,
    key TEXT NOT NULL,
    environment TEXT,
    target TEXT,
    state VARCHAR(16) NOT NULL,
    outcome VARCHAR(24),
    reason TEXT NOT NULL,
    opened_at VARCHAR(27) NOT NULL,
    closed_at VARCHAR(27),
    severity TEXT NOT NULL,
    title TEXT NOT NULL,
    strategy TEXT,
    findings JSON NOT NULL,
    run_id VARCHAR(40),
    superseded_by VARCHAR(40),
    truncated INTEGER NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX incidents_by_time ON incidents (opened_at);

CREATE UNIQUE INDEX incidents_open_key ON incidents (key) WHERE state = 'open';

CREATE TABLE kept_results (
    id SERIAL NOT NULL,
    incident_id VARCHAR(40) NOT NULL,
    run_id VARCHAR(40) NOT NULL,
    at VARCHAR(27) NOT NULL,
    operation VARCHAR(64) NOT NULL,
    phase VARCHAR(16) NOT NULL,
    digest VARCHAR(80) NOT NULL,
    bytes INTEGER NOT NULL,
    shortened BOOLEAN NOT NULL,
    result JSON NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX kept_results_by_incident ON kept_results (incident_id, id);

CREATE TABLE observed (
    run_id VARCHAR(40) NOT NULL,
    incident_id VARCHAR(40),
    environment TEXT NOT NULL,
    target TEXT NOT NULL,
    strategy TEXT,
    remedy TEXT,
    cid VARCHAR(80) NOT NULL,
    risk VARCHAR(16) NOT NULL,
    level VARCHAR(16) NOT NULL,
    otherwise VARCHAR(16) NOT NULL,
    preview JSON NOT NULL,
    at VARCHAR(27) NOT NULL,
    PRIMARY KEY (run_id)
);

CREATE INDEX observed_by_time ON observed (at);

CREATE TABLE outbox (
    id SERIAL NOT NULL,
    key TEXT NOT NULL,
    kind VARCHAR(32) NOT NULL,
    severity TEXT NOT NULL,
    incident_id VARCHAR(40),
    run_id VARCHAR(40),
    channel TEXT,
    message JSON NOT NULL,
    created_at VARCHAR(27) NOT NULL,
    routed_at VARCHAR(27),
    PRIMARY KEY (id),
    UNIQUE (key)
);

CREATE INDEX outbox_by_incident ON outbox (incident_id);

CREATE INDEX outbox_by_routing ON outbox (routed_at, id);

CREATE TABLE outcomes (
    run_id VARCHAR(40) NOT NULL,
    rung INTEGER NOT NULL,
    at VARCHAR(27) NOT NULL,
    strategy TEXT NOT NULL,
    remedy TEXT NOT NULL,
    findings TEXT NOT NULL,
    environment TEXT NOT NULL,
    target TEXT NOT NULL,
    catalogue TEXT,
    verdict VARCHAR(16),
    reward FLOAT,
    reason TEXT NOT NULL,
    alternative TEXT,
    policy VARCHAR(16),
    propensity FLOAT,
    position INTEGER,
    PRIMARY KEY (run_id, rung)
);

CREATE INDEX outcomes_by_strategy ON outcomes (strategy, at);

CREATE TABLE plans (
    cid VARCHAR(80) NOT NULL,
    document JSON NOT NULL,
    created_at VARCHAR(27) NOT NULL,
    PRIMARY KEY (cid)
);

CREATE TABLE runs (
    id VARCHAR(40) NOT NULL,
    incident_id VARCHAR(40),
    environment TEXT,
    target TEXT,
    origin VARCHAR(16) NOT NULL,
    actor TEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    stage VARCHAR(24) NOT NULL,
    part INTEGER NOT NULL,
    due_at VARCHAR(27),
    waiting_for TEXT NOT NULL,
    cid VARCHAR(80),
    data JSON NOT NULL,
    created_at VARCHAR(27) NOT NULL,
    first_call_at VARCHAR(27),
    acted_at VARCHAR(27),
    ended_at VARCHAR(27),
    verdict VARCHAR(16),
    outcome VARCHAR(24),
    reason TEXT NOT NULL,
    cancel_by TEXT,
    cancel_reason TEXT,
    PRIMARY KEY (id)
);

CREATE INDEX runs_acted ON runs (environment, acted_at);

CREATE INDEX runs_by_incident ON runs (incident_id);

CREATE INDEX runs_by_target ON runs (environment, target, ended_at);

CREATE INDEX runs_due ON runs (state, due_at);

CREATE INDEX runs_queued ON runs (environment, created_at) WHERE waiting_for = 'slot';

CREATE TABLE slots (
    environment TEXT NOT NULL,
    target TEXT NOT NULL,
    fence INTEGER NOT NULL,
    run_id VARCHAR(40),
    acting BOOLEAN NOT NULL,
    taken_at VARCHAR(27),
    PRIMARY KEY (environment, target)
);

CREATE INDEX slots_by_run ON slots (run_id);

CREATE INDEX slots_held ON slots (environment, acting) WHERE run_id IS NOT NULL;

CREATE TABLE telling_windows (
    channel TEXT NOT NULL,
    kind VARCHAR(32) NOT NULL,
    opened_at VARCHAR(27) NOT NULL,
    ends_at VARCHAR(27) NOT NULL,
    told INTEGER NOT NULL,
    highest INTEGER NOT NULL,
    PRIMARY KEY (channel, kind)
);

CREATE TABLE tokens (
    id VARCHAR(40) NOT NULL,
    name TEXT NOT NULL,
    role VARCHAR(16) NOT NULL,
    hash VARCHAR(80) NOT NULL,
    created_at VARCHAR(27) NOT NULL,
    expires_at VARCHAR(27),
    revoked_at VARCHAR(27),
    PRIMARY KEY (id)
);

CREATE TABLE uici_meta (
    name VARCHAR(64) NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE vetoes (
    id VARCHAR(40) NOT NULL,
    strategy TEXT NOT NULL,
    remedy TEXT NOT NULL,
    environment TEXT,
    target TEXT,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    at VARCHAR(27) NOT NULL,
    lifted_at VARCHAR(27),
    lifted_by TEXT,
    lifted_reason TEXT NOT NULL,
    PRIMARY KEY (id)
);
