-- Who holds and waits for what, since when: for operators. Linear in leases and gates.
-- Answers one line after the other: its name, its limit, how many hold, wait and are closed; of each
-- that holds node, key, for how long, whether claimed; of each that waits tag, node, key, for how long;
-- of each closed key model, cause, opening in how long.
local reply, lines, held = {}, {}, {}

local function say(...)
    for _, value in ipairs({ ... }) do reply[#reply + 1] = value end
end

local function is_line(name)
    if not held[name] then
        held[name] = {}
        lines[#lines + 1] = name
    end
    return held[name]
end

local function closings(account)
    local closed = {}
    for model, key in pairs(keys_of(health_of(account))) do
        if key.ends > raw then closed[#closed + 1] = model end
    end
    table.sort(closed)
    return closed
end

local function say_line(name)
    local gate = string.sub(name, 1, 1) ~= 'p' and gate_of(name)
    local account = string.sub(name, 1, 1) == 'a' and string.sub(name, 2)
    local places = call('ZRANGE', P .. 'l:' .. name, 0, -1)
    local closed = account and closings(account) or {}
    say(name, gate and gate.limit or '', #held[name], #places, #closed)
    table.sort(held[name])
    for _, id in ipairs(held[name]) do
        local lease, node = lease_of(id), head(id)
        say(node, string.sub(id, #node + 1), raw - lease.since, lease.claim_by and 0 or 1)
    end
    for _, place in ipairs(places) do
        local tag = head(place)
        local id = string.sub(place, #tag + 1)
        local node = head(id)
        say(tag, node, string.sub(id, #node + 1), raw - lease_of(id).since)
    end
    for _, model in ipairs(closed) do
        local health = health_of(account)
        local key = model == '' and health.own or health.models[model]
        say(model, key.cause, key.ends - raw)
    end
end

if not read_clock() then return reply end
for _, node in ipairs(call('ZRANGE', P .. 'nodes', 0, -1)) do
    for _, lease in ipairs(leases_of(node)) do
        if lease.gate then table.insert(is_line(lease.gate), lease.id) end
    end
end
for _, name in ipairs(call('SMEMBERS', P .. 'waited:g')) do is_line(name) end
for _, name in ipairs(call('SMEMBERS', P .. 'waited:p')) do is_line(name) end
for _, account in ipairs(call('HKEYS', P .. 'h')) do
    if #closings(account) > 0 then is_line('a' .. account) end
end
local order = { u = '1', a = '2', p = '3' }
table.sort(lines, function(one, other)
    local a, b = order[string.sub(one, 1, 1)], order[string.sub(other, 1, 1)]
    return a .. string.sub(one, 2) < b .. string.sub(other, 2)
end)
for _, name in ipairs(lines) do say_line(name) end
return reply
