-- Slots change hands: lines, assigning, granting in order of tags, releasing, what falls due.
--
-- A line is called like its gate, or `p` and the pool's id. A ticket's place in it is its tag and its
-- lease, one behind the other. `idle` are the gates and pools that the operation may have left
-- without a reason to be known.
local idle = {}
local waited_pools

local function is_empty(line)
    if string.sub(line, 1, 1) == 'p' then return call('EXISTS', P .. 'l:' .. line) == 0 end
    return gate_of(line).waiting == 0
end

local function enqueue(line, place)
    if call('ZADD', P .. 'l:' .. line, 0, place) == 0 then return end
    if string.sub(line, 1, 1) == 'p' then
        if call('SADD', P .. 'waited:p', line) == 1 then pools_waited = pools_waited + 1 end
        if waited_pools then waited_pools[line] = true end
        return
    end
    local gate = gate_of(line)
    if gate.waiting == 0 then call('SADD', P .. 'waited:g', line) end
    gate.waiting, changed[line] = gate.waiting + 1, true
end

local function dequeue(line, place)
    if call('ZREM', P .. 'l:' .. line, place) == 0 then return end
    if string.sub(line, 1, 1) == 'p' then
        if is_empty(line) then
            pools_waited = pools_waited - call('SREM', P .. 'waited:p', line)
            if waited_pools then waited_pools[line] = nil end
        end
        return
    end
    local gate = gate_of(line)
    gate.waiting, changed[line] = gate.waiting - 1, true
    if gate.waiting == 0 then call('SREM', P .. 'waited:g', line) end
end

-- Takes the lease's ticket out of its line, wherever that is.
local function leave_line(lease)
    local line = lease.line
    if not line then return end
    lease.line, touched[lease.id] = false, true
    dequeue(line, lease.tag .. lease.id)
    if is_empty(line) then idle[line] = true end
end

-- Puts a lease without slot and ticket into a line.
local function join_line(lease, line)
    lease.line, lease.since, touched[lease.id] = line, raw, true
    enqueue(line, lease.tag .. lease.id)
end

-- Gives the lease another place in order, also in its line.
local function retag(lease, tag)
    if lease.tag == tag then return end
    if lease.line then
        dequeue(lease.line, lease.tag .. lease.id)
        enqueue(lease.line, tag .. lease.id)
    end
    lease.tag, touched[lease.id] = tag, true
end

-- Gives the lease a slot of the gate; `way` is 'entered', 'settled' or 'resynced'. A ticket leaves
-- its line for it, but in `Poll`.
local function assign(lease, name, gate, way)
    if way == 'settled' or settles then leave_line(lease) end
    local stamp = way == 'resynced' and 0 or draw()
    lease.gate, lease.stamp, lease.since = name, stamp, raw
    lease.claim_by = way == 'settled' and later(clock, CLAIM_WINDOW)
    lease.expires = lease.ttl and later(clock, lease.ttl)
    gate.held, changed[name], touched[lease.id] = gate.held + 1, true, true
    if way ~= 'resynced' then
        gate.last = stamp
        begin_probes(lease.id, name, gate, lease.model)
    end
end

-- Takes the lease's slot away; the gate is to be settled afterwards. The lease stays known.
local function release(lease)
    local name = lease.gate
    if not name then return nil end
    local gate = gate_of(name)
    lease.gate, lease.stamp, lease.claim_by, lease.expires = false, 0, false, false
    gate.held, changed[name], touched[lease.id] = gate.held - 1, true, true
    hand_probes(lease.id, name, gate, false)
    if gate.held == 0 then idle[name] = true end
    return name
end

-- Whether this ticket of that line may have a slot of the gate now.
local function may_have(id, line, name, gate)
    local lease = lease_of(id)
    if not lease or lease.gate or clock >= lease.patience_ends then return false end
    return not has(lease.excluded, string.sub(name, 2))
        and usable(name, gate, line, lease.model, id) == 'yes'
end

-- The first ticket of one line, before the place `before`, that may have the gate's slot now.
local function first_of(line, name, gate, before, but)
    local till, from = before and '(' .. before or '+', 0
    repeat
        local places = call('ZRANGEBYLEX', P .. 'l:' .. line, '-', till, 'LIMIT', from, 16)
        for _, place in ipairs(places) do
            local id = string.sub(place, #head(place) + 1)
            if id ~= but and may_have(id, line, name, gate) then return place end
        end
        from = from + 16
    until #places < 16
    return nil
end

-- The pools that somebody waits for.
local function waited()
    if not waited_pools then
        waited_pools = {}
        if pools_waited > 0 then
            for _, line in ipairs(call('SMEMBERS', P .. 'waited:p')) do
                waited_pools[line] = true
            end
        end
    end
    return waited_pools
end

-- The least ticket among the gate's own line and its pools' that may have its slot now.
local function first_in_line(name, gate, before, but)
    local first = gate.waiting > 0 and first_of(name, name, gate, before, but) or nil
    if gate.pools and gate.pools ~= '' then
        for line in pairs(waited()) do
            if has(gate.pools, string.sub(line, 2)) then
                first = first_of(line, name, gate, first or before, but) or first
            end
        end
    end
    return first
end

-- Grants free slots in order, to tickets before `before` only, and never to `but`.
local function serve(name, before, but)
    local gate = gate_of(name)
    while has_room(gate) do
        if gate.guard == 2 and door(health_of(string.sub(name, 2)).own, nil) ~= 'yes' then
            return
        end
        local place = first_in_line(name, gate, before, but)
        if not place then return end
        local id = string.sub(place, #head(place) + 1)
        assign(lease_of(id), name, gate, 'settled')
        grants[#grants + 1] = { id, name }
    end
end

-- Hands free slots of the gate to the least tags that may have them.
local function settle(name)
    if settles then serve(name, nil, nil) end
end

-- Settles every gate that somebody may wait for, users first, by id.
local function settle_all()
    if not settles then return end
    local users, accounts, seen = {}, {}, {}
    local function add(name)
        if not seen[name] then
            local list = string.sub(name, 1, 1) == 'u' and users or accounts
            seen[name], list[#list + 1] = true, name
        end
    end
    for _, name in ipairs(call('SMEMBERS', P .. 'waited:g')) do add(name) end
    for line in pairs(waited()) do
        local members = pool_of(string.sub(line, 2)).members
        read_gates(members)
        for _, name in ipairs(members) do add(name) end
    end
    table.sort(users)
    table.sort(accounts)
    for _, name in ipairs(users) do settle(name) end
    for _, name in ipairs(accounts) do settle(name) end
end

-- Takes everything away from a lease and forgets it. Settles what it frees.
local function remove(lease)
    leave_line(lease)
    local freed = release(lease)
    forget(lease)
    if freed then settle(freed) end
end

local function lease_due(lease)
    if lease.gate then
        local passes_on = lease.claim_by
            and (not lease.expires or lease.claim_by <= lease.expires)
        count(passes_on and 'passed_on' or 'expired')
    end
    remove(lease)
end

-- The first entry of a list of what is due, and when.
local function first_due(list)
    local first = call('ZRANGE', P .. list, 0, 0, 'WITHSCORES')
    return first[1], first[1] and tonumber(first[2]) or NEVER
end

-- Works off at most `max` due entries. Says how many.
local function work_off_due(max)
    for done = 0, max - 1 do
        local id, opening
        write_leases()
        if clock >= due_from then
            id, due_from = first_due('due')
        end
        if clock < due_from and raw >= open_from then
            opening, open_from = first_due('open')
        end
        if id and clock >= due_from then
            lease_due(lease_of(id))
        elseif opening and raw >= open_from then
            call('ZREM', P .. 'open', opening)
            local name = 'a' .. head(opening)
            if gate_of(name) then settle(name) end
        else
            return done
        end
    end
    return max
end

-- Whether due entries are left over.
local function is_due_now()
    write_leases()
    local _, due = first_due('due')
    local _, opening = first_due('open')
    return clock >= due or raw >= opening
end

local function drop_gate(name)
    local gate = gate_of(name)
    if not gate or gate.held > 0 or gate.waiting > 0 then return end
    if string.sub(name, 1, 1) == 'a' then
        if gate.listed or gate.pools ~= '' or gate.operator ~= 0 then return end
        if gate.guard > 0 then
            local account = string.sub(name, 2)
            local keys = keys_of(health_of(account))
            for _, key in pairs(keys) do
                if not is_clean(key) then return end
            end
            for model in pairs(keys) do call('ZREM', P .. 'open', account .. model) end
            healths[account] = { own = new_key(), models = {} }
            healths_changed[account] = true
        end
    end
    gates[name], changed[name] = false, true
end

-- Forgets what says nothing any more. Before and after an operation, never during it.
local function drop_idle()
    for name in pairs(idle) do
        if string.sub(name, 1, 1) ~= 'p' then
            drop_gate(name)
        else
            local id = string.sub(name, 2)
            local pool = pool_of(id)
            if pool and #pool.members == 0 and is_empty(name) then
                pools[id], pools_changed[id] = false, true
            end
        end
    end
    idle = {}
end

-- What every operation but a survey begins with.
local function begin()
    advance()
    work_off_due(DUE_PER_OP)
    drop_idle()
end

-- Whether the node has no live session.
local function is_dead(node)
    local ends = call('HGET', P .. 'n:' .. node, '@')
    return not ends or tonumber(ends) <= clock
end

-- Writes everything back, then pushes grants: a right that is missing shows before anything is half
-- done, and a grant is only a hint.
local function finish(reply)
    drop_idle()
    write_leases()
    write_gates()
    write_healths()
    write_clock()
    for _, grant in ipairs(grants) do
        local node = head(grant[1])
        local message = string.sub(grant[1], #node + 1) .. ' ' .. grant[2]
        redis.pcall('PUBLISH', P .. 'grant:' .. node, message)
    end
    return reply
end
