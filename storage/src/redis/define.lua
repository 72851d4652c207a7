-- Define: the roster's part that the store needs, whole.
-- ARGV: version, whether the discipline is `Settle`, the seven numbers of the health fold, how many
-- accounts; of each, by id, id, limit (-1 for none), priority, OAuth; of each pool, by id, id, whether
-- it prefers OAuth, how many members, their ids in order.
local function known_accounts()
    local names = {}
    for _, name in ipairs(call('HKEYS', P .. 'g')) do
        if string.sub(name, 1, 1) == 'a' then names[#names + 1] = name end
    end
    read_gates(names)
    return names
end

local function define_accounts(count_of)
    local defs = {}
    for n = 0, count_of - 1 do defs['a' .. ARGV[11 + 4 * n]] = true end
    for _, name in ipairs(known_accounts()) do
        if not defs[name] then
            local gate = gate_of(name)
            gate.listed, gate.limit, changed[name] = false, 0, true
        end
    end
    for n = 0, count_of - 1 do
        local at = 11 + 4 * n
        local name = 'a' .. ARGV[at]
        local gate = make_gate(name)
        gate.listed, gate.limit, changed[name] = true, tonumber(ARGV[at + 1]), true
        gate.priority, gate.oauth = tonumber(ARGV[at + 2]), ARGV[at + 3] == '1'
    end
end

local function define_pools(at)
    for _, id in ipairs(call('HKEYS', P .. 'p')) do
        pool_of(id).members, pools_changed[id] = {}, true
    end
    for _, name in ipairs(known_accounts()) do
        gate_of(name).pools, changed[name] = '', true
    end
    while ARGV[at] do
        local id, members = ARGV[at], {}
        local pool = make_pool(id)
        for n = at + 3, at + 2 + tonumber(ARGV[at + 2]) do
            local name = 'a' .. ARGV[n]
            local gate = make_gate(name)
            gate.pools, changed[name] = (gate.pools == '' and ' ' or gate.pools) .. id .. ' ', true
            members[#members + 1] = name
        end
        pool.prefer_oauth, pool.members = ARGV[at + 1] == '1', members
        pools_changed[id] = true
        at = at + 3 + #members
    end
end

-- From `Poll` to `Settle`: who has a slot waits no more.
local function stop_counting_the_held()
    local lines = call('SMEMBERS', P .. 'waited:g')
    for _, line in ipairs(call('SMEMBERS', P .. 'waited:p')) do lines[#lines + 1] = line end
    for _, line in ipairs(lines) do
        for _, place in ipairs(call('ZRANGE', P .. 'l:' .. line, 0, -1)) do
            local lease = lease_of(string.sub(place, #head(place) + 1))
            if lease.gate then leave_line(lease) end
        end
    end
end

local function define()
    local kept = call('GET', P .. 'roster')
    if ARGV[1] <= (kept and cmsgpack.unpack(kept)[1] or NO_VERSION) then return 'done' end
    local roster = { ARGV[1] }
    for n = 3, 9 do roster[#roster + 1] = tonumber(ARGV[n]) end
    call('SET', P .. 'roster', cmsgpack.pack(roster))
    local former = settles
    settles = ARGV[2] == '1'
    write_gates()
    define_accounts(tonumber(ARGV[10]))
    define_pools(11 + 4 * tonumber(ARGV[10]))
    if settles and not former then stop_counting_the_held() end
    settle_all()
    for name in pairs(gates) do idle[name] = true end
    for id in pairs(pools) do idle['p' .. id] = true end
    return 'done'
end

begin()
return finish(define())
