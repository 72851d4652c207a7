-- Changes of health, and the closings that follow from them.

-- The numbers of the fold, as `Define` has them.
local function read_rules()
    local kept = call('GET', P .. 'roster')
    local r = kept and cmsgpack.unpack(kept) or FIRST_ROSTER
    return {
        failures_to_eject = r[2], ejection = r[3], ejection_max = r[4], quarantine = r[5],
        quarantine_max = r[6], rate_limit_max = r[7], overload_max = r[8],
    }
end

-- Changes the account's health and keeps the openings true: one is on the list from its closing until
-- it is worked off, whatever becomes of the other keys.
local function with_health(name, gate, change)
    local account = string.sub(name, 2)
    local health, before = health_of(account), {}
    for model, key in pairs(keys_of(health)) do before[model] = key.ends end
    local result = change(health)
    local after = keys_of(health)
    for model, ends in pairs(before) do
        if not after[model] or after[model].ends ~= ends then
            call('ZREM', P .. 'open', account .. model)
        end
    end
    for model, key in pairs(after) do
        if key.ends > raw and before[model] ~= key.ends then
            call('ZADD', P .. 'open', key.ends, account .. model)
            open_from = math.min(open_from, key.ends)
        end
    end
    healths_changed[account] = true
    set_guard(name, gate)
    return result
end

local function close(key, span, cause)
    key.ends = math.max(key.ends, later(raw, span))
    key.stamp, key.cause, key.half_open, key.probe = counter, cause, true, false
end

-- The key that a scope speaks of; a model's is made if there is a place for it.
local function scoped(health, scope, model)
    if scope == 'account' then return health.own end
    if health.models[model] then return health.models[model] end
    local known, least = 0, nil
    for other, key in pairs(health.models) do
        known = known + 1
        if is_settled(key) and (not least or other < least) then least = other end
    end
    if known >= MODEL_KEYS_MAX then
        if not least then return health.own end
        health.models[least] = nil
    end
    health.models[model] = new_key()
    return health.models[model]
end

-- `span × 2^n`, as far as numbers go, and at most so long.
local function doubled(span, n, max)
    return math.min(span * 2 ^ math.min(n, 63), max)
end

-- The mark of a lease that was granted at the stamp. ARGV from `at` on: what, scope, span, cause,
-- explicit. Answers the key that it closed, or whose closing it lengthened.
local function folded(health, granted, model, at)
    local what, scope = ARGV[at], ARGV[at + 1]
    if what == 'ok' then
        for _, key in pairs({ health.own, health.models[model] }) do
            if granted >= key.stamp then
                key.failures, key.ejections, key.quarantines = 0, 0, 0
                key.half_open, key.probe = false, false
            end
        end
        return nil
    end
    local rules = read_rules()
    local key = what == 'quarantine' and health.own or scoped(health, scope, model)
    local is_stale = granted < key.stamp
    if what == 'close' then
        local span, cause = tonumber(ARGV[at + 2]), ARGV[at + 3]
        span = math.min(span, rules[cause .. '_max'])
        if not is_stale then
            close(key, span, cause)
            return key
        end
        local ends = later(raw, span)
        if ARGV[at + 4] ~= '1' or raw >= key.ends or ends <= key.ends then return nil end
        key.ends, key.cause = ends, cause
        return key
    end
    if is_stale then return nil end
    if what == 'quarantine' then
        local span = doubled(rules.quarantine, key.quarantines, rules.quarantine_max)
        key.quarantines = math.min(key.quarantines + 1, 4294967295)
        close(key, span, 'quarantine')
        return key
    end
    key.failures = math.min(key.failures + 1, 4294967295)
    if not key.half_open and key.failures < rules.failures_to_eject then return nil end
    local span = doubled(rules.ejection, key.ejections, rules.ejection_max)
    key.failures, key.ejections = 0, math.min(key.ejections + 1, 4294967295)
    close(key, span, 'ejection')
    return key
end

-- Folds the mark of a lease into the health of its account.
local function fold(lease, at)
    local name = lease.gate
    if string.sub(name, 1, 1) ~= 'a' then return end
    local gate = gate_of(name)
    if ARGV[at] == 'ok' and gate.guard == 0 then return end
    local closed = with_health(name, gate, function(health)
        return folded(health, lease.stamp, lease.model, at)
    end)
    -- A closing; one that was merely lengthened keeps its stamp.
    if closed and closed.stamp == counter then draw() end
end
