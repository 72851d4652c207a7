-- Account health: what a key lets through, whether a gate can be used, and who probes.
--
-- A gate's `guard` is 0 without health of its own, 1 if that lets everybody in, 2 if it, or the
-- operator, may say no. An operator's word is 0 serving, 1 draining, 2 disabled.
local healths, healths_changed = {}, {}

local function new_key()
    return {
        ends = 0, stamp = 0, cause = '', half_open = false, probe = false, failures = 0,
        ejections = 0, quarantines = 0,
    }
end

local function health_of(account)
    local health = healths[account]
    if not health then
        health = { own = new_key(), models = {} }
        local kept = call('HGET', P .. 'h', account)
        if kept then
            local k = cmsgpack.unpack(kept)
            for n = 1, #k, 9 do
                local key = {
                    ends = k[n + 1], stamp = k[n + 2], cause = k[n + 3], half_open = k[n + 4],
                    probe = k[n + 5], failures = k[n + 6], ejections = k[n + 7],
                    quarantines = k[n + 8],
                }
                if k[n] == '' then health.own = key else health.models[k[n]] = key end
            end
        end
        healths[account] = health
    end
    return health
end

-- Every key by its model; the account's own is under ''.
local function keys_of(health)
    local keys = { [''] = health.own }
    for model, key in pairs(health.models) do keys[model] = key end
    return keys
end

local function is_settled(key)
    return raw >= key.ends and not key.half_open
end

local function is_clean(key)
    return key.failures == 0 and key.ejections == 0 and key.quarantines == 0 and is_settled(key)
end

local function is_new(key)
    return is_clean(key) and key.ends == 0 and key.stamp == 0
end

local function write_healths()
    for account in pairs(healths_changed) do
        local health = healths[account]
        if not next(health.models) and is_new(health.own) then
            call('HDEL', P .. 'h', account)
        else
            local flat = {}
            for model, key in pairs(keys_of(health)) do
                local n = #flat
                flat[n + 1], flat[n + 2], flat[n + 3] = model, key.ends, key.stamp
                flat[n + 4], flat[n + 5], flat[n + 6] = key.cause, key.half_open, key.probe
                flat[n + 7], flat[n + 8] = key.failures, key.ejections
                flat[n + 9] = key.quarantines
            end
            call('HSET', P .. 'h', account, cmsgpack.pack(flat))
        end
    end
end

-- What a key lets through for a lease, or for a newcomer (nil): 'yes', 'probing', or 'shut' and for
-- how long.
local function door(key, id)
    if raw < key.ends then return 'shut', key.ends - raw end
    if key.half_open and key.probe and key.probe ~= id then return 'probing' end
    return 'yes'
end

-- The narrower of the account's own door and the model's.
local function health_door(health, model, id)
    local own, own_span = door(health.own, id)
    local key = health.models[model]
    if not key then return own, own_span end
    local other, span = door(key, id)
    if own == 'shut' or other == 'shut' then
        return 'shut', math.max(own_span or 0, span or 0)
    end
    if own == 'probing' or other == 'probing' then return 'probing' end
    return 'yes'
end

-- Whether a lease, or a newcomer (nil), can use a gate wanted by that line, room aside: 'yes',
-- 'probing', 'shut' and for how long, or 'no'.
local function usable(name, gate, line, model, id)
    if gate.limit == 0 then return 'no' end
    if gate.guard ~= 2 then return 'yes' end
    if gate.operator == 2 or gate.operator == 1 and string.sub(line, 1, 1) == 'p' then
        return 'no'
    end
    return health_door(health_of(string.sub(name, 2)), model, id)
end

-- Brings the short cut up to date after a change of health or operator state.
local function set_guard(name, gate)
    local health = health_of(string.sub(name, 2))
    local plain, new = gate.operator == 0, true
    for model, key in pairs(keys_of(health)) do
        if not is_settled(key) then plain = false end
        if model ~= '' or not is_new(key) then new = false end
    end
    gate.guard = not plain and 2 or new and 0 or 1
    changed[name] = true
end

-- The lease is the probe of every half-open key it was granted under.
local function begin_probes(id, name, gate, model)
    if gate.guard ~= 2 then return end
    local account = string.sub(name, 2)
    local health = health_of(account)
    local function begin(key)
        if key and key.half_open and not key.probe then
            key.probe = id
            healths_changed[account] = true
        end
    end
    begin(health.own)
    begin(health.models[model])
end

-- Whether the lease is a half-open key's probe on this gate.
local function is_probe(id, name, gate)
    if gate.guard ~= 2 then return false end
    for _, key in pairs(keys_of(health_of(string.sub(name, 2)))) do
        if key.probe == id then return true end
    end
    return false
end

-- What was this lease's to prove is `other`'s from now on, or the next one's (false).
local function hand_probes(id, name, gate, other)
    if gate.guard ~= 2 then return end
    local account = string.sub(name, 2)
    for _, key in pairs(keys_of(health_of(account))) do
        if key.probe == id then
            key.probe = other
            healths_changed[account] = true
        end
    end
end
