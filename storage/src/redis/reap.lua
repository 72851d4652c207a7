-- Reap: due entries, and what ended sessions have left.
-- ARGV: the most to work off.
--
-- A dead node has its leases listed once, in two sorted sets, tickets and leases with a slot, so that
-- a call costs what it works off and not what there is. Nothing is added to a dead node, but a ticket
-- of it may be granted a slot meanwhile.
local left = tonumber(ARGV[1])

local function list_of(node, what)
    return P .. 'dead:' .. node .. ':' .. what
end

local function list_leases(node)
    if call('SADD', P .. 'dead', node) == 0 then return end
    for _, lease in ipairs(leases_of(node)) do
        local key = string.sub(lease.id, #node + 1)
        call('ZADD', list_of(node, lease.gate and 'held' or 'waiting'), 0, key)
    end
end

-- Works off one of the lists of a node, as far as the call may.
local function work_off(node, what)
    local list = list_of(node, what)
    while left > 0 do
        local keys = call('ZRANGE', list, 0, left - 1)
        if #keys == 0 then return end
        for _, key in ipairs(keys) do
            call('ZREM', list, key)
            local lease = lease_of(node .. key)
            if lease and lease.gate and what == 'waiting' then
                call('ZADD', list_of(node, 'held'), 0, key)
            elseif lease then
                left = left - 1
                count('reaped')
                remove(lease)
            end
        end
    end
end

local function reap()
    left = left - work_off_due(left)
    local dead = nodes_between('-inf', clock)
    for _, node in ipairs(dead) do list_leases(node) end
    for _, what in ipairs({ 'waiting', 'held' }) do
        for _, node in ipairs(dead) do work_off(node, what) end
    end
    local more = is_due_now()
    for _, node in ipairs(dead) do
        if lease_count(node) > 0 then
            more = true
        else
            call('HDEL', P .. 'instances', call('HGET', P .. 'names', node))
            forget_node(node)
        end
    end
    return { 'reaped', more and 1 or 0 }
end

begin()
return finish(reap())
