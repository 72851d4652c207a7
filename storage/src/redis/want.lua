-- What a lease wants, and which gates that means.
--
-- A want comes as five arguments: `u`, `a` or `p`; the id; the user's limit (-1 for none) or the
-- model; the most tickets in the line, empty for no line; the limit's version or the excluded accounts.

-- The user's gate, with the newest limit.
local function define_user(name, limit, version)
    local gate, made = make_gate(name)
    if made then idle[name] = true end
    if version >= gate.version then
        gate.version, gate.limit, changed[name] = version, limit, true
    end
    return gate
end

-- The want by its line; nil if there is no such gate or pool.
local function wanted(kind, id, what, line_max, more)
    local line = kind .. id
    local want = { line = line, model = what, line_max = tonumber(line_max), excluded = '' }
    if kind == 'u' then
        define_user(line, tonumber(what), more)
        want.model = '10'
    elseif kind == 'a' then
        if not gate_of(line) then return nil end
    else
        if not pool_of(id) then return nil end
        want.pool, want.excluded = id, more
    end
    return want
end

-- Writes down what the lease, made if need be, wants from now on.
local function describe(id, ask, want, tag, patience, ttl)
    local lease = lease_of(id)
    if not lease then
        lease = create(id, ask, tag or id_of(draw()))
    elseif tag then
        retag(lease, tag)
    end
    lease.model, lease.excluded, lease.ttl = want.model, want.excluded, ttl
    lease.patience_ends, touched[id] = later(clock, patience), true
    return lease
end
