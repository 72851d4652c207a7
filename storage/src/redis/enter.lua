-- Enter: get or keep a place.
-- ARGV: node, key, ask, tag, patience, ttl, the five of the want, then the best accounts.
local id = ARGV[1] .. ARGV[2]
local ask, asked_tag = tonumber(ARGV[3]), ARGV[4] ~= '' and ARGV[4]
local patience, ttl = tonumber(ARGV[5]) or 0, tonumber(ARGV[6]) or false

-- What the lease has, and when its first candidate opens.
local function report(lease, opens_in)
    if not lease then return 'full' end
    if lease.gate and lease.claim_by then
        -- A grant is not held until it is claimed: an ask delivered twice must not be told so.
        return { 'waiting', 1, lease.tag, '' }
    end
    if lease.gate then
        local probe = is_probe(id, lease.gate, gate_of(lease.gate))
        return { 'held', lease.gate, lease.tag, probe and 1 or 0 }
    end
    if lease.line then
        local before = call('ZRANK', P .. 'l:' .. lease.line, lease.tag .. id)
        return { 'waiting', before + 1, lease.tag, opens_in or '' }
    end
    return 'full'
end

-- Whether what the lease has is what it wants.
local function is_inside(lease, want)
    local name = lease.gate
    local gate = gate_of(name)
    if want.pool then
        local account = string.sub(name, 1, 1) == 'a'
        if not account or not has(gate.pools, want.pool) then return false end
    elseif want.line ~= name then
        return false
    end
    return not has(want.excluded, string.sub(name, 2))
        and usable(name, gate, want.line, want.model, id) == 'yes'
end

-- Whether the gate takes the lease, after all who come before it.
local function takes(name, gate, tag, want)
    local function is_free()
        return has_room(gate) and usable(name, gate, want.line, want.model, id) == 'yes'
    end
    if not is_free() then return false end
    if settles then serve(name, tag and tag .. id, id) end
    return is_free()
end

-- The best by rank of the members that have not been tried and have room.
local function best_of_rest(pool, want, tried)
    local best, best_rank
    for _, name in ipairs(pool.members) do
        local gate = gate_of(name)
        if has_room(gate) and not tried[name] and not has(want.excluded, string.sub(name, 2))
            and usable(name, gate, want.line, want.model, id) == 'yes' then
            local rank = rank_of(gate, pool.prefer_oauth)
            if not best or is_before(rank[1], rank[2], rank[3], rank[4], best_rank) then
                best, best_rank = name, rank
            end
        end
    end
    return best
end

-- The first candidate that takes the lease.
local function find_room(tag, want)
    if not want.pool then
        return takes(want.line, gate_of(want.line), tag, want) and want.line or nil
    end
    local tried = {}
    for n = 12, #ARGV do
        local name = 'a' .. ARGV[n]
        local gate = gate_of(name)
        if gate and has(gate.pools, want.pool) and not has(want.excluded, ARGV[n])
            and takes(name, gate, tag, want) then
            return name
        end
        tried[name] = true
    end
    local pool = pool_of(want.pool)
    read_gates(pool.members)
    local name = best_of_rest(pool, want, tried)
    while name do
        if takes(name, gate_of(name), tag, want) then return name end
        tried[name] = true
        name = best_of_rest(pool, want, tried)
    end
    return nil
end

-- How many candidates are open, and in how long the first of those that health has closed opens.
local function hopes(want)
    local open, opens_in = 0, nil
    local function count_in(name)
        local what, span = usable(name, gate_of(name), want.line, want.model, id)
        if what == 'yes' or what == 'probing' then
            open = open + 1
        elseif what == 'shut' then
            opens_in = math.min(opens_in or span, span)
        end
    end
    if want.pool then
        for _, name in ipairs(pool_of(want.pool).members) do
            if not has(want.excluded, string.sub(name, 2)) then count_in(name) end
        end
    else
        count_in(want.line)
    end
    return open, opens_in
end

local function shut(opens_in)
    local lease = lease_of(id)
    if lease then remove(lease) end
    return { 'shut', opens_in or '' }
end

-- For a lease without a slot.
local function place(tag, want)
    local name = find_room(tag, want)
    if name then
        local lease = describe(id, ask, want, tag, patience, ttl)
        assign(lease, name, gate_of(name), 'entered')
        return report(lease)
    end
    local open, opens_in = hopes(want)
    if open == 0 and (not opens_in or opens_in > patience) then return shut(opens_in) end
    if not want.line_max then return 'full' end
    local lease = lease_of(id)
    local in_line = lease and lease.line == want.line
    if not in_line then
        local full = call('ZCARD', P .. 'l:' .. want.line) >= want.line_max
        if full and not asked_tag then return 'full' end
        if lease then leave_line(lease) end
    end
    lease = describe(id, ask, want, tag, patience, ttl)
    if not lease.line then join_line(lease, want.line) end
    return report(lease, open == 0 and opens_in)
end

local function enter()
    if is_dead(ARGV[1]) then return 'lost' end
    if is_fenced(ARGV[1], ARGV[2]) then return 'left' end
    local lease = lease_of(id)
    if lease and ask <= lease.ask then return report(lease) end
    if lease then lease.ask, touched[id] = ask, true end
    local want = wanted(ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11])
    -- A user's raised limit may serve this very lease, so what it has is looked at afterwards.
    if ARGV[7] == 'u' then settle(want.line) end
    lease = lease_of(id)
    local given_up
    if lease and lease.gate then
        if want and is_inside(lease, want) then
            if asked_tag then retag(lease, asked_tag) end
            lease.claim_by, touched[id] = false, true
            return report(lease)
        end
        given_up = release(lease)
        leave_line(lease)
    end
    local tag = asked_tag or lease and lease.tag
    local reply = want and place(tag, want) or shut(nil)
    if given_up then settle(given_up) end
    lease = lease_of(id)
    if lease and not lease.gate and not lease.line then forget(lease) end
    return reply
end

begin()
return finish(enter())
