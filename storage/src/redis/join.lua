-- Join: a session begins.
-- ARGV: instance, the node it replaces or nothing, whether that one's leases go on.

-- All leases of a node go on under another's name.
local function rename(former, node)
    for _, old in ipairs(leases_of(former)) do
        local lease, from = {}, old.id
        for field, value in pairs(old) do lease[field] = value end
        lease.id = node .. string.sub(from, #former + 1)
        leases[from], touched[from] = false, true
        leases[lease.id], touched[lease.id] = lease, true
        if lease.line then
            call('ZREM', P .. 'l:' .. lease.line, lease.tag .. from)
            call('ZADD', P .. 'l:' .. lease.line, 0, lease.tag .. lease.id)
        end
        if lease.gate then hand_probes(from, lease.gate, gate_of(lease.gate), lease.id) end
    end
end

local function join()
    local instance = ARGV[1]
    local former = call('HGET', P .. 'instances', instance)
    if former and former ~= ARGV[2] then return { 'taken', former } end
    local node = id_of(draw())
    set_end(node, clock + SESSION)
    call('HSET', P .. 'instances', instance, node)
    call('HSET', P .. 'names', node, instance)
    if former then
        if ARGV[3] == '1' then
            rename(former, node)
        else
            for _, lease in ipairs(tickets_then_leases(former)) do
                lease = lease_of(lease.id)
                if lease then remove(lease) end
            end
        end
        forget_node(former)
    end
    return { 'joined', node, identity() }
end

begin()
return finish(join())
