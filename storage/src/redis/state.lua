-- What is kept: gates, leases; read when needed, written back by `finish`.
-- Lines and lists of what is due are sorted sets, changed at once, because they are read in between.
-- What few operations read or write is kept as MessagePack.
local NO_VERSION = '1010'

local function count(what)
    call('HINCRBY', P .. 'counts', what, 1)
end

-- Gates by name: `u` or `a` and the id. `false` is one that there is not.
local gates, changed = {}, {}

local function parsed_gate(name, kept)
    local gate = false
    if kept and string.sub(name, 1, 1) == 'u' then
        local limit, held, waiting, version = unpacked(USER, kept)
        gate = { limit = limit, held = held, waiting = waiting, version = version }
    elseif kept then
        local limit, held, waiting, last, priority, oauth, guard, listed, operator, in_pools =
            unpacked(ACCOUNT, kept)
        gate = {
            limit = limit, held = held, waiting = waiting, last = last, priority = priority,
            oauth = oauth == 1, guard = guard, listed = listed == 1, operator = operator,
            pools = in_pools,
        }
    end
    gates[name] = gate
    return gate
end

local function gate_of(name)
    local gate = gates[name]
    if gate == nil then
        gate = parsed_gate(name, call('HGET', P .. 'g', name))
    end
    return gate
end

-- Reads many gates in few commands.
local function read_gates(names)
    for first = 1, #names, 1000 do
        local last = math.min(first + 999, #names)
        local kept = call('HMGET', P .. 'g', unpack(names, first, last))
        for n = first, last do
            if gates[names[n]] == nil then parsed_gate(names[n], kept[n - first + 1]) end
        end
    end
end

local function make_gate(name)
    local gate = gate_of(name)
    if gate then return gate, false end
    if string.sub(name, 1, 1) == 'u' then
        gate = { limit = 0, held = 0, waiting = 0, version = NO_VERSION }
    else
        gate = {
            limit = 0, held = 0, waiting = 0, last = 0, priority = 4294967295, oauth = false,
            guard = 0, listed = false, operator = 0, pools = '',
        }
    end
    gates[name], changed[name] = gate, true
    return gate, true
end

local function has_room(gate)
    return gate.limit < 0 or gate.held < gate.limit
end

-- Pools by id; their members are names of gates. `false` is one that there is not.
local pools, pools_changed = {}, {}

local function pool_of(id)
    local pool = pools[id]
    if pool == nil then
        local kept = call('HGET', P .. 'p', id)
        pool = false
        if kept then
            local k = cmsgpack.unpack(kept)
            pool = { prefer_oauth = k[1], members = k[2] }
        end
        pools[id] = pool
    end
    return pool
end

local function make_pool(id)
    local pool = pool_of(id)
    if not pool then
        pool = { prefer_oauth = false, members = {} }
        pools[id], pools_changed[id] = pool, true
    end
    return pool
end

-- Leases by node and key, one behind the other; the key is request and attempt. `listed` is when the
-- list of what is due has them.
local leases, touched, listed = {}, {}, {}

local function due_of(lease)
    if lease.gate then
        local claim_by, expires = lease.claim_by, lease.expires
        if claim_by and expires then return math.min(claim_by, expires) end
        return claim_by or expires
    end
    return lease.line and lease.patience_ends
end

local function parsed_lease(id, kept)
    local lease = false
    if kept and string.sub(kept, 1, 1) ~= 'X' then
        local tag, model, excluded, gate, line, ask, since, ttl, stamp, claim_by, expires,
            patience_ends = unpacked(LEASE, kept)
        lease = {
            id = id, tag = tag, model = model, excluded = excluded, gate = gate ~= '' and gate,
            line = line ~= '' and line, ask = ask, since = since, ttl = ttl >= 0 and ttl,
            stamp = stamp, claim_by = claim_by >= 0 and claim_by,
            expires = expires >= 0 and expires, patience_ends = patience_ends,
        }
        listed[id] = due_of(lease) or nil
    end
    leases[id] = lease
    return lease
end

local function lease_of(id)
    local lease = leases[id]
    if lease == nil then
        local node = head(id)
        lease = parsed_lease(id, call('HGET', P .. 'n:' .. node, string.sub(id, #node + 1)))
    end
    return lease
end

-- A lease that has nothing yet.
local function create(id, ask, tag)
    local lease = {
        id = id, ask = ask, tag = tag, since = raw, model = '10', excluded = '', ttl = false,
        gate = false, stamp = 0, claim_by = false, expires = false, line = false,
        patience_ends = clock,
    }
    leases[id], touched[id] = lease, true
    return lease
end

-- Forgets a lease that has neither slot nor line any more.
local function forget(lease)
    leases[lease.id], touched[lease.id] = false, true
end

-- Writes leases back, and when they are due. Before the list of what is due, or the leases of a node,
-- are read.
local function write_leases()
    for id in pairs(touched) do
        local node, l = head(id), leases[id]
        local key, at = string.sub(id, #node + 1), nil
        if l then
            at = due_of(l) or nil
            call('HSET', P .. 'n:' .. node, key, pack(LEASE,
                l.tag, l.model, l.excluded, l.gate or '', l.line or '', l.ask, l.since,
                l.ttl or -1, l.stamp, l.claim_by or -1, l.expires or -1, l.patience_ends))
        else
            call('HDEL', P .. 'n:' .. node, key)
        end
        if at ~= listed[id] then
            if at then
                call('ZADD', P .. 'due', at, id)
                due_from = math.min(due_from, at)
            else
                call('ZREM', P .. 'due', id)
            end
            listed[id] = at
        end
    end
    touched = {}
end

-- Whether a late `Enter` of the lease is kept out by its tombstone: `X` and until when, in place of a
-- lease. One whose time is over is cleared away.
local function is_fenced(node, key)
    local kept = call('HGET', P .. 'n:' .. node, key)
    if not kept or string.sub(kept, 1, 1) ~= 'X' then return false end
    if clock < tonumber(string.sub(kept, 2)) then return true end
    call('ZREM', P .. 'x:' .. node, key)
    call('HDEL', P .. 'n:' .. node, key)
    return false
end

-- All leases of a node, by key.
local function leases_of(node)
    write_leases()
    local flat, all = call('HGETALL', P .. 'n:' .. node), {}
    for n = 1, #flat, 2 do
        local id = node .. flat[n]
        if flat[n] ~= '@' and leases[id] == nil then parsed_lease(id, flat[n + 1]) end
        if leases[id] then all[#all + 1] = id end
    end
    table.sort(all)
    for n, id in ipairs(all) do all[n] = leases[id] end
    return all
end

-- Grants that the operation has made, in order.
local grants = {}

-- Writes gates and pools back. Before all of them are read.
local function write_gates()
    for name in pairs(changed) do
        local g = gates[name]
        if not g then
            call('HDEL', P .. 'g', name)
        elseif string.sub(name, 1, 1) == 'u' then
            call('HSET', P .. 'g', name, pack(USER, g.limit, g.held, g.waiting, g.version))
        else
            call('HSET', P .. 'g', name, pack(ACCOUNT,
                g.limit, g.held, g.waiting, g.last, g.priority, g.oauth and 1 or 0, g.guard,
                g.listed and 1 or 0, g.operator, g.pools))
        end
    end
    for id in pairs(pools_changed) do
        local pool = pools[id]
        if pool then
            call('HSET', P .. 'p', id, cmsgpack.pack({ pool.prefer_oauth, pool.members }))
        else
            call('HDEL', P .. 'p', id)
        end
    end
    changed, pools_changed = {}, {}
end
