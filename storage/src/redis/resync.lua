-- Resync: the store is told what a node really has.
-- ARGV: node, ask, as_of, whether it is the last, how many are busy, held and waiting; then the keys of
-- the busy; of each held key, gate, limit and version or nothing, model, tag, ttl; of each waiting
-- key, the five of the want, tag, patience, ttl.
local node, ask, as_of = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local at = 7

local function next_arg()
    at = at + 1
    return ARGV[at]
end

local function see(key)
    call('SADD', P .. 'pass:' .. node .. id_of(as_of), key)
end

-- At most so many passes are kept; the oldest goes, were it this one.
local function begin_pass()
    local passes = P .. 'passes:' .. node
    call('ZADD', passes, as_of, id_of(as_of))
end

local function end_pass()
    local passes = P .. 'passes:' .. node
    while call('ZCARD', passes) > PASSES_MAX do
        local oldest = call('ZRANGE', passes, 0, 0)[1]
        call('DEL', P .. 'pass:' .. node .. oldest)
        call('ZREM', passes, oldest)
    end
end

-- Whether a call of that number may still change the lease.
local function is_news(key)
    if is_fenced(node, key) then return false end
    local lease = lease_of(node .. key)
    return not lease or lease.ask < ask
end

local function gate_for(name, limit, version)
    if string.sub(name, 1, 1) == 'a' then return make_gate(name) end
    if limit == '' then
        local known = gate_of(name)
        if known then return known end
        limit, version = 0, NO_VERSION
    end
    return define_user(name, tonumber(limit), version)
end

local function hold(key, name, limit, version, model, tag, ttl)
    if not is_news(key) then return end
    local id = node .. key
    local gate, lease = gate_for(name, limit, version), lease_of(id)
    if not lease then
        lease = create(id, ask, tag)
    elseif lease.gate == name then
        lease.ask, lease.claim_by, touched[id] = ask, false, true
        return
    else
        release(lease)
    end
    leave_line(lease)
    lease.ask, lease.tag, lease.ttl, touched[id] = ask, tag, tonumber(ttl) or false, true
    lease.model = string.sub(name, 1, 1) == 'u' and '10' or model
    if not has_room(gate) then count('over_limit') end
    assign(lease, name, gate, 'resynced')
end

local function wait(key, kind, gate, what, line_max, more, tag, patience, ttl)
    if not is_news(key) then return end
    local id = node .. key
    if kind == 'a' then make_gate(kind .. gate) elseif kind == 'p' then make_pool(gate) end
    idle[kind .. gate] = true
    local want, lease = wanted(kind, gate, what, line_max, more), lease_of(id)
    if lease and lease.gate then
        lease.ask, touched[id] = ask, true
        return
    end
    if lease and lease.line ~= want.line then leave_line(lease) end
    lease = describe(id, ask, want, tag, tonumber(patience), tonumber(ttl) or false)
    lease.ask, touched[id] = ask, true
    if not lease.line then join_line(lease, want.line) end
end

local function leave_orphans()
    local seen = {}
    for _, key in ipairs(call('SMEMBERS', P .. 'pass:' .. node .. id_of(as_of))) do
        seen[node .. key] = true
    end
    for _, lease in ipairs(leases_of(node)) do
        if lease.ask <= as_of and not seen[lease.id] then
            count('orphaned')
            leave_line(lease)
            release(lease)
            forget(lease)
        end
    end
end

local function resync()
    if is_dead(node) then return 'lost' end
    local busy, held, waiting = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
    begin_pass()
    for n = 8, 7 + busy do see(ARGV[n]) end
    for n = 0, held - 1 do see(ARGV[8 + busy + 7 * n]) end
    for n = 0, waiting - 1 do see(ARGV[8 + busy + 7 * held + 9 * n]) end
    end_pass()
    at = 7 + busy
    for _ = 1, held do
        hold(next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg())
    end
    for _ = 1, waiting do
        wait(next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg(),
            next_arg(), next_arg())
    end
    if ARGV[4] == '1' then leave_orphans() end
    settle_all()
    return 'done'
end

begin()
return finish(resync())
