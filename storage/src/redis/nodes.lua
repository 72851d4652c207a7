-- What a node's session is made of. A node's hash has its end under `@`, its leases and tombstones
-- under their keys.

-- All leases of a node, those that only wait first.
local function tickets_then_leases(node)
    local tickets, held = {}, {}
    for _, lease in ipairs(leases_of(node)) do
        local list = lease.gate and held or tickets
        list[#list + 1] = lease
    end
    for _, lease in ipairs(held) do tickets[#tickets + 1] = lease end
    return tickets
end

-- Leases and tickets that the node has.
local function lease_count(node)
    write_leases()
    return call('HLEN', P .. 'n:' .. node) - 1 - call('ZCARD', P .. 'x:' .. node)
end

-- Nodes of whose sessions the end lies between the two, by id.
local function nodes_between(from, till)
    local nodes = call('ZRANGEBYSCORE', P .. 'nodes', from, till)
    table.sort(nodes)
    return nodes
end

local function forget_node(node)
    write_leases()
    for _, pass in ipairs(call('ZRANGE', P .. 'passes:' .. node, 0, -1)) do
        call('DEL', P .. 'pass:' .. node .. pass)
    end
    call('DEL', P .. 'n:' .. node, P .. 'x:' .. node, P .. 'passes:' .. node,
        P .. 'dead:' .. node .. ':waiting', P .. 'dead:' .. node .. ':held')
    call('ZREM', P .. 'nodes', node)
    call('SREM', P .. 'dead', node)
    call('HDEL', P .. 'names', node)
end

local function set_end(node, ends)
    call('HSET', P .. 'n:' .. node, '@', ends)
    call('ZADD', P .. 'nodes', ends, node)
end

-- The store's identity: where its counter began, and which run of which server this is.
local function identity()
    local run = string.match(call('INFO', 'server'), 'run_id:(%w+)')
    return call('GET', P .. 'epoch'), run
end
