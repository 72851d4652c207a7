-- What is kept: ids, the clock, gates, leases, health; read when needed, written back by `finish`.
-- Lines and lists of what is due are sorted sets, changed at once, because they are read in between.
--
-- An id is text: the number of its hexadecimal digits as one letter of LENGTHS, then the digits. So
-- all 64 bits survive, ids one behind the other can be told apart, and order of text is order of
-- numbers. Numbers are microseconds, asks, stamps and counts, all below 2^53; none of them is ever
-- joined to a text but by `%.0f`, since `..` keeps 14 digits only.
local P, call, pack, unpacked = KEYS[1] .. ':', redis.call, cmsgpack.pack, cmsgpack.unpack
local LENGTHS = '0123456789abcdefg'
local NEVER = 9007199254740992
local NO_VERSION = '1010'

local function id_of(number)
    local digits = string.format('%x', number)
    return string.sub(LENGTHS, #digits + 1, #digits + 1) .. digits
end

-- So long after; nothing comes after NEVER.
local function later(at, span)
    return math.min(at + span, NEVER)
end

-- The first id of several.
local function head(text)
    return string.sub(text, 1, string.find(LENGTHS, string.sub(text, 1, 1), 1, true))
end

-- Whether a list, which is empty or has a blank around every id, has this one.
local function has(list, id)
    return list ~= '' and string.find(list, ' ' .. id .. ' ', 1, true) ~= nil
end

-- The raw reading, the store clock, the counter; whether the discipline is `Settle`; before when
-- nothing falls due and no closing ends; how many pools are waited for.
local raw, clock, counter, settles, due_from, open_from, pools_waited

local function read_clock()
    local kept = call('GET', P .. 'clock')
    if kept then
        local c = unpacked(kept)
        raw, clock, counter, settles, due_from, open_from, pools_waited =
            c[1], c[2], c[3], c[4], c[5], c[6], c[7]
        return true
    end
    return false
end

local function advance()
    local now = machine()
    if read_clock() then
        local gone = math.max(now - raw, 0)
        raw, clock = raw + gone, clock + math.min(gone, GAP_MAX)
    else
        raw, clock, counter, settles = now, now, math.max(now, 1), true
        due_from, open_from, pools_waited = NEVER, NEVER, 0
        call('SET', P .. 'epoch', counter)
    end
end

local function draw()
    counter = counter + 1
    return counter - 1
end

local function count(what)
    call('HINCRBY', P .. 'counts', what, 1)
end

-- Gates by name: `u` or `a` and the id. `false` is one that there is not.
local gates, changed = {}, {}

local function parsed_gate(name, kept)
    local gate = false
    if kept then
        local k = unpacked(kept)
        gate = { limit = k[1], held = k[2], waiting = k[3] }
        if string.sub(name, 1, 1) == 'u' then
            gate.version = k[4]
        else
            gate.last, gate.priority, gate.oauth, gate.guard = k[4], k[5], k[6], k[7]
            gate.listed, gate.operator, gate.pools = k[8], k[9], k[10]
        end
    end
    gates[name] = gate
    return gate
end

local function gate_of(name)
    local gate = gates[name]
    if gate == nil then
        local kind = string.sub(name, 1, 1)
        gate = parsed_gate(name, call('HGET', P .. kind, string.sub(name, 2)))
    end
    return gate
end

-- Reads many accounts in few commands.
local function read_accounts(ids)
    for first = 1, #ids, 1000 do
        local last = math.min(first + 999, #ids)
        local kept = call('HMGET', P .. 'a', unpack(ids, first, last))
        for n = first, last do
            local name = 'a' .. ids[n]
            if gates[name] == nil then parsed_gate(name, kept[n - first + 1]) end
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

-- Pools by id. `false` is one that there is not.
local pools, pools_changed = {}, {}

local function pool_of(id)
    local pool = pools[id]
    if pool == nil then
        local kept = call('HGET', P .. 'p', id)
        pool = false
        if kept then
            local k = unpacked(kept)
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
        local k = unpacked(kept)
        lease = {
            id = id, ask = k[1], tag = k[2], since = k[3], model = k[4], excluded = k[5],
            ttl = k[6], gate = k[7], stamp = k[8], claim_by = k[9], expires = k[10],
            line = k[11], patience_ends = k[12],
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
            call('HSET', P .. 'n:' .. node, key, pack({
                l.ask, l.tag, l.since, l.model, l.excluded, l.ttl, l.gate, l.stamp, l.claim_by,
                l.expires, l.line, l.patience_ends,
            }))
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
        local kind, id, g = string.sub(name, 1, 1), string.sub(name, 2), gates[name]
        if not g then
            call('HDEL', P .. kind, id)
        elseif kind == 'u' then
            call('HSET', P .. 'u', id, pack({ g.limit, g.held, g.waiting, g.version }))
        else
            call('HSET', P .. 'a', id, pack({
                g.limit, g.held, g.waiting, g.last, g.priority, g.oauth, g.guard, g.listed,
                g.operator, g.pools,
            }))
        end
    end
    for id in pairs(pools_changed) do
        local pool = pools[id]
        if pool then
            call('HSET', P .. 'p', id, pack({ pool.prefer_oauth, pool.members }))
        else
            call('HDEL', P .. 'p', id)
        end
    end
    changed, pools_changed = {}, {}
end
